"""Neural-linear Thompson sampling: a Bayesian linear regression on features that a network has learned.

Beta-Bernoulli Thompson sampling keeps one counter a segment and module, which does not reach high-dimensional contexts;
the TRNN paper (section 9) plans deep Bayesian bandits for them. Of these, neural-linear held up well throughout
(Riquelme, Tucker and Snoek 2018, "Deep Bayesian Bandits Showdown"): the network's last hidden layer φ(context, module)
is taken as given, and only the last layer's weights w are uncertain,

    reward = φᵀw + ε,  ε ~ N(0, σ²),  w | σ² ~ N(0, σ²/λ · I),  σ² ~ Inverse-Gamma(a, b).

The posterior stays in that family. A page is drawn by drawing (σ², w) once and ranking the candidates by φᵀw, under the
same diversity strategies as in `thompson`. The weights are shared by all modules, so a new module is known by its
features at once; where each module should have weights of its own, let φ hold a block for each.

The features come from outside. When the network is trained again they change their meaning: begin with a new
`NeuralLinear` and update it with the logs under the new features.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_solve, cholesky, solve_triangular

from pageopt.errors import ConfigError
from pageopt.policies.greedy import EMPTY
from pageopt.policies.thompson import Diversity, check_diversity, rank_by_score, shown_counts

_SMALLEST = 0.01  # scores below it are bent for demotion


class NeuralLinear:
    """A Thompson sampling policy over features of (page, module).

    Args:
        features: d, size of a feature vector; one of them should be constant.
        families: `[modules]` integer family of every module.
        precision: λ of the prior, how firmly weights are held near 0.
        shape: a of the prior on the noise.
        rate: b of the prior on the noise; a and b of 6 count as much as 12 rewards of variance 1.
        diversity: None, "swap" or "demote" (see `thompson`).
        seed: of the draws.

    Raises ConfigError for priors that are not above 0, or an unknown diversity.
    """

    def __init__(
        self,
        features: int,
        families: np.ndarray,
        precision: float = 0.25,
        shape: float = 6.0,
        rate: float = 6.0,
        diversity: Diversity = None,
        seed: int = 0,
    ) -> None:
        if features < 1 or not (precision > 0 and shape > 0 and rate > 0):
            raise ConfigError(
                "features must be 1 or more, precision, shape and rate above 0, not "
                f"{features}, {precision}, {shape} and {rate}."
            )
        check_diversity(diversity)
        self._families = np.asarray(families)
        self._diversity: Diversity = diversity
        self._prior_rate = rate
        self._precision = precision * np.eye(features)  # λI + ΣφφT
        self._factor = cholesky(self._precision, lower=True)
        self._moment = np.zeros(features)  # Σφ·reward
        self._squares = 0.0  # Σreward²
        self._shape = shape
        self._draws = np.random.default_rng((seed, 0))
        self._rankings = np.random.default_rng((seed, 1))  # its own, so that propensities leave the pages as they are
        self._solve()

    @property
    def mean(self) -> np.ndarray:
        """Posterior mean of the weights, `[d]`."""
        return self._mean.copy()

    @property
    def covariance(self) -> np.ndarray:
        """Posterior covariance of the weights in units of the noise, Λ⁻¹ `[d, d]`: their covariance is σ²Λ⁻¹."""
        return cho_solve((self._factor, True), np.eye(len(self._mean)))

    @property
    def noise(self) -> tuple[float, float]:
        """a and b of the posterior σ² ~ Inverse-Gamma(a, b)."""
        return self._shape, self._rate

    def update(self, phi: np.ndarray, reward: np.ndarray) -> None:
        """Learn from a batch; the order of batches, and of rows, does not matter.

        Args:
            phi: `[n, d]` features of shown (page, module) pairs that count as seen.
            reward: `[n]` such as clicks.

        Raises:
            ConfigError: shapes that do not fit, numbers that are not finite, or features too large for the prior to
                keep the precision matrix invertible; nothing is learned then.
        """
        phi, reward = np.asarray(phi, dtype=np.float64), np.asarray(reward, dtype=np.float64)
        if phi.ndim != 2 or phi.shape[1] != len(self._mean) or reward.shape != phi.shape[:1]:
            raise ConfigError(
                f"phi must be [n, {len(self._mean)}] and reward [n], not {list(phi.shape)} and {list(reward.shape)}."
            )
        if not (np.isfinite(phi).all() and np.isfinite(reward).all()):
            raise ConfigError("phi and reward must be finite; leave out pairs whose features are missing.")
        precision = self._precision + phi.T @ phi
        try:
            self._factor = cholesky(precision, lower=True)
        except LinAlgError:
            raise ConfigError(
                f"Features as large as {np.abs(phi).max():.3g} depend on each other beyond what float64 resolves "
                "beside the prior's precision. Scale them to about 1."
            ) from None
        self._precision = precision
        self._moment += phi.T @ reward
        self._squares += float(reward @ reward)
        self._shape += len(reward) / 2
        self._solve()

    def draw(self, phi: np.ndarray) -> np.ndarray:
        """Scores `[pages, candidates]` for `phi [pages, candidates, d]`: one draw of the weights a page."""
        phi = self._features(phi)
        return np.einsum("pcd,pd->pc", phi, self._weights(len(phi), self._draws))

    def rank(self, phi: np.ndarray, candidates: np.ndarray, slots: int) -> np.ndarray:
        """Draw pages.

        Args:
            phi: `[pages, candidates, d]` features; anything finite where there is no candidate.
            candidates: `[pages, candidates]` module indices, -1 at the end of a row where there are fewer.
            slots: slots of the page.

        Returns:
            `[pages, slots]` module indices, -1 where the page is shorter.

        Raises:
            ConfigError: shapes that do not fit, or a module without a family.
        """
        scores = self.draw(phi)
        counts = self._counts(candidates, scores.shape)
        modules = np.full((len(scores), slots), EMPTY, dtype=np.int64)
        for count in np.unique(counts[counts > 0]):
            rows = np.flatnonzero(counts == count)
            available = np.asarray(candidates)[rows, :count]
            scored = self._rankable(scores[rows, :count])
            shown = rank_by_score(scored, self._families[available], slots, self._diversity)
            modules[rows, : shown.shape[1]] = np.take_along_axis(available, shown, axis=1)
        return modules

    def marginal_propensities(self, phi: np.ndarray, candidates: np.ndarray, slots: int, samples: int) -> np.ndarray:
        """P(candidate at slot) of each page under the posterior as it is, by Monte Carlo.

        Unbiased, with a standard error of √(p(1−p)/samples) an entry. All pages share the drawn weights, so their
        errors are not independent of each other.

        Args:
            phi: as in `rank`.
            candidates: as in `rank`.
            slots: slots of the page.
            samples: weights to draw.

        Returns:
            `[pages, candidates, slots]`; a page's column sums to 1, or to 0 below its last candidate.
        """
        phi = self._features(phi)
        counts = self._counts(candidates, phi.shape[:2])
        weights = self._weights(samples, self._rankings)
        share = np.zeros((*phi.shape[:2], slots))
        for page in np.flatnonzero(counts):
            count = counts[page]
            scores = self._rankable(weights @ phi[page, :count].T)
            family = self._families[np.asarray(candidates)[page, :count]]
            share[page, :count] = shown_counts(scores, family, slots, self._diversity) / samples
        return share

    def _solve(self) -> None:
        self._mean = cho_solve((self._factor, True), self._moment)
        # Half the penalised residual sum of squares is what the data add to b: never below 0 but for rounding.
        self._rate = self._prior_rate + max(0.0, self._squares - float(self._mean @ self._moment)) / 2

    def _weights(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """`[count, d]` draws of the posterior. With Λ = LLᵀ, L⁻ᵀz has covariance Λ⁻¹."""
        sigma = np.sqrt(self._rate / rng.gamma(self._shape, size=count))
        spread = solve_triangular(self._factor, rng.normal(size=(len(self._mean), count)), lower=True, trans="T")
        return self._mean + sigma[:, None] * spread.T

    def _features(self, phi: np.ndarray) -> np.ndarray:
        phi = np.asarray(phi, dtype=np.float64)
        if phi.ndim != 3 or phi.shape[2] != len(self._mean):
            raise ConfigError(f"phi must be [pages, candidates, {len(self._mean)}], not {list(phi.shape)}.")
        if not np.isfinite(phi).all():
            raise ConfigError(f"phi[{int(np.argmax(~np.isfinite(phi).all(axis=(1, 2))))}] holds numbers not finite.")
        return phi

    def _counts(self, candidates: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
        """Candidates of each page, `[pages]`."""
        candidates = np.asarray(candidates)
        if candidates.shape != shape or candidates.dtype.kind not in "iu":
            raise ConfigError(
                f"candidates must be module indices {list(shape)} as in phi, not {list(candidates.shape)}."
            )
        there = candidates != EMPTY
        if candidates.size and not EMPTY <= candidates.min() <= candidates.max() < len(self._families):
            raise ConfigError(f"candidates must lie in -1..{len(self._families) - 1}: other modules have no family.")
        if (there[:, 1:] & ~there[:, :-1]).any():
            raise ConfigError("candidates must have their -1 at the end of the row.")
        return there.sum(axis=1)

    def _rankable(self, scores: np.ndarray) -> np.ndarray:
        """Demotion multiplies scores, so it needs them positive: small ones are bent, smoothly and in their order."""
        if self._diversity != "demote":
            return scores
        return np.where(scores > _SMALLEST, scores, _SMALLEST**2 / (2 * _SMALLEST - np.minimum(scores, _SMALLEST)))
