"""Model and search as one graph: encoded page in, ordered page out (paper sections 5.1 and 5.2).

The search of `pageopt.search.beam`, unrolled over the slots, on B pages at once. The same module runs eagerly in
evaluation and is exported to ONNX for serving, so the code keeps to what the exporter translates faithfully: no `//`
and `%` by a size that may vary, no branches on values.

Shapes:
    B pages   N candidates   K slots   W beams   H width   E size of an embedding   M modules   Q heads

What repeats is computed once: what depends on the module alone when the graph is made, what a module meets in the fit
once a page and added to with each module chosen, and of what stands above as much as the architecture allows
(pageopt.models.item.above.Steps). A beam is scored by
g = −Σ log(1 − P) = Σ softplus(logit), which ranks pages as φ = 1 − e^(−g) does and does not lose the digits of small
probabilities.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pageopt.errors import ConfigError
from pageopt.features.encoder import EncodedPages
from pageopt.models.item.above import Chosen, Offered, rows
from pageopt.models.item.heads import HEADS, chain
from pageopt.models.item.network import PageNetwork
from pageopt.search.decision import Decision

INPUT_NAMES = ("categorical", "numeric", "tokens", "candidates", "available", "slots")
OUTPUT_NAMES = ("chosen", "probabilities", "score")


class PageGraph(nn.Module):
    """Decides pages of up to K slots with `width` beams, opened at slot `beam_start`, by the head `objective`.

    Raises ConfigError where the model never learned the objective, or for sizes below 1.
    """

    part_of_module: Tensor
    fit_of_module: Tensor
    fit_of_above: Tensor | None
    family_of_module: Tensor

    def __init__(self, model: PageNetwork, *, width: int, beam_start: int, objective: str):
        super().__init__()
        if objective not in model.config.trained_heads:
            raise ConfigError(
                f"search.objective = {objective!r}, but the model was trained on {list(model.config.losses)} and knows "
                f"{list(model.config.trained_heads)}. Set search.objective to one of these."
            )
        if width < 1 or beam_start < 1:
            raise ConfigError(f"search.width = {width} and search.beam_start = {beam_start} must be at least 1.")
        self.slots = model.config.slots
        self.width = width
        self.beam_start = beam_start
        self.objective = HEADS.index(objective)
        self.chained = model.config.chained
        self.page_fields, self.page_layers, self.words = model.page_fields, model.page_layers, model.words
        self.heads, self.fit_of_page = model.heads, model.fit_of_page
        with torch.no_grad():
            h_m = model.encode_modules()
            self.register_buffer("part_of_module", model.from_module(h_m))  # v [M, H]
            self.register_buffer("fit_of_module", model.fit_of_module(h_m))  # [M, Q·E]
            added = None if model.fit_of_above is None else model.fit_of_above(h_m)
            self.register_buffer("fit_of_above", added)  # [M, Q·E], what a chosen module adds
            self.register_buffer("family_of_module", model.family_of.unsqueeze(1).clone())  # [M, 1]
        hidden = model.config.above == "hidden"
        self.above = model.above.steps(model.from_output.weight.detach(), h_m, hidden=hidden)

    def forward(
        self, categorical: Tensor, numeric: Tensor, tokens: Tensor, candidates: Tensor, available: Tensor, slots: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decide B pages.

        Args:
            categorical, numeric, tokens: encoded pages `[B, C]`, `[B, D]`, `[B, X, T]`.
            candidates: int64 `[B, N]`, N ≥ 1, module indexes; any valid one, such as 0, where not available.
            available: bool `[B, N]`.
            slots: int64 `[B]`, slots wanted on each page; more than K are not filled.

        Returns:
            chosen: int64 `[B, K]`, positions in `candidates`, -1 where the page ends earlier.
            probabilities: float32 `[B, K, Q]` of click, intent and purchase, 0 where the page ends earlier.
            score: float32 `[B]`, φ of the objective.
        """
        B, N = candidates.shape
        page = torch.arange(B).unsqueeze(1)  # [B, 1]
        position = torch.arange(N)
        family = rows(self.family_of_module, candidates).transpose(1, 2)  # [B, 1, N]
        offered = Offered(page, candidates, family)
        part = rows(self.part_of_module, candidates).unsqueeze(1)  # [B, 1, N, H]
        length = torch.minimum(available.sum(1), slots).unsqueeze(1)  # [B, 1] slots that will be filled
        going_on = torch.arange(self.slots) < length  # [B, K]
        # What may not be chosen has −∞ added to its total: here slots below the page's end, modules that are not there
        ended = torch.where(going_on, 0.0, -torch.inf)  # [B, K]
        gone = torch.where(available, 0.0, -torch.inf).unsqueeze(1)  # [B, W, N], W = 1

        h_x = self.page_layers(self.page_fields(categorical, numeric, tokens, self.words))  # [B, H]
        met = self.fit_of_page(h_x).unsqueeze(1)  # [B, W, Q·E]
        fits = rows(self.fit_of_module, candidates).unflatten(-1, (len(HEADS), -1)).permute(0, 2, 3, 1)  # [B, Q, E, N]
        state = self.above.start(h_x, offered)
        g = torch.zeros_like(h_x[:, :1])  # [B, W]
        above = torch.full_like(page, -1)  # [B, W] family of the module above
        steps: list[_Step] = []
        for slot in range(1, self.slots + 1):
            W = g.shape[1]
            u, looked = self.above.look(state, offered, slot)  # [B, W, N, H], or 1 for W or N
            fit = met.unflatten(-1, (len(HEADS), -1)).transpose(1, 2) @ fits  # [B, Q, W, N]
            evidence = self.heads(torch.relu(u + part)) + fit.permute(0, 2, 3, 1)  # [B, W, N, Q], or 1 for W
            if evidence.shape[1] < W:
                evidence = evidence.expand(-1, W, -1, -1)

            gain = functional.softplus(self._sought(evidence))  # −log(1 − P)
            total = gain + gone + (g + ended[:, slot - 1 : slot]).unsqueeze(-1)
            apart = torch.where(family == above.unsqueeze(-1), -torch.inf, total)
            total = torch.where(apart.amax(-1, keepdim=True) == -torch.inf, total, apart)  # the rule, or its lifting
            g, chosen = _largest(total, self.width if slot >= self.beam_start else 1)
            parent = sum(((chosen >= w * N).long() for w in range(1, W)), torch.zeros_like(chosen))  # [B, W]
            choice = torch.clamp(chosen - parent * N, max=N - 1)
            taken = rows(evidence.flatten(0, 2), page * (W * N) + choice + parent * N)  # [B, W, Q]
            steps.append(_Step(g, parent, choice, taken))
            if slot == self.slots:
                break
            beam = page * W + parent  # [B, W] rows of [B·W]
            above = family.squeeze(1).gather(1, choice)
            module = candidates.gather(1, choice)  # [B, W]
            state = self.above.go_on(looked, Chosen(beam, module, above), slot)
            if self.fit_of_above is not None:
                met = rows(met.flatten(0, 1), beam) + rows(self.fit_of_above, module)
            gone = torch.where(position == choice.unsqueeze(-1), -torch.inf, rows(gone.flatten(0, 1), beam))
        choice, evidence, score = _best_path(page, steps)
        probability = torch.sigmoid(chain(evidence) if self.chained else evidence)
        return torch.where(going_on, choice, -1), probability * going_on.unsqueeze(-1), score

    def _sought(self, evidence: Tensor) -> Tensor:
        """Logit of the objective `[B, W, N]`, of evidence `[B, W, N, Q]`: of all candidates, so no other head's."""
        if self.chained and self.objective > 0:
            return chain(evidence[..., :: self.objective])[..., 1]  # the click's evidence and the objective's
        return evidence[..., self.objective]


class _Step(NamedTuple):
    """The beams after one slot, best first: g, the beam each came from, the candidate it took `[B, W]`, and its
    evidence `[B, W, Q]`. After the page's end g is −∞ and each beam comes from the first.
    """

    g: Tensor
    parent: Tensor
    choice: Tensor
    evidence: Tensor


def _largest(total: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` largest values of `[B, W, N]` and their places in `[B, W·N]`, largest first `[B, keep]`.

    Ties go to the lower place: the better beam, then the earlier candidate.
    """
    missing = max(0, keep - total.shape[1])
    total = total.flatten(1)
    if missing:  # one beam may have fewer candidates than are kept: places past the end, of value −∞
        total = functional.pad(total, (0, missing), value=-torch.inf)
    if torch.compiler.is_exporting():
        # ONNX prescribes that TopK breaks ties by the lower index; torch.topk promises nothing.
        value, place = torch.topk(total, keep)
        return value, place
    value, place = torch.sort(total, dim=1, descending=True, stable=True)
    return value[:, :keep], place[:, :keep]


def _best_path(page: Tensor, steps: list[_Step]) -> tuple[Tensor, Tensor, Tensor]:
    """The path that ends in the first beam: candidates `[B, K]`, evidence `[B, K, Q]`, score `[B]`."""
    choices, evidence = [], []
    beam = torch.zeros_like(page)  # [B, 1]
    for step in reversed(steps):
        choices.append(step.choice.gather(1, beam))
        evidence.append(rows(step.evidence.flatten(0, 1), page * step.parent.shape[1] + beam))
        beam = step.parent.gather(1, beam)
    # g never falls from slot to slot, and is −∞ after the end: its largest value is that of the whole page.
    g = torch.cat([step.g[:, :1] for step in steps], 1).amax(1).clamp(min=0)
    return torch.cat(choices[::-1], 1), torch.cat(evidence[::-1], 1), 1 - torch.exp(-g)


def decide(
    graph: PageGraph,
    encoded: EncodedPages,
    candidates: NDArray[np.int64],
    slots: NDArray[np.int64] | None = None,
    batch: int = 64,
) -> Decision:
    """Run `graph` eagerly over P encoded pages with candidates `[P, N]`, module indexes padded with -1.

    `slots` `[P]` (default: all) limits the length of each page. `batch` pages at a time: what they hold between layers
    should fit the processor's cache. Raises ConfigError for an unknown module index.
    """
    P, K = len(candidates), graph.slots
    known = len(graph.family_of_module)
    if candidates.size and (candidates.max() >= known or candidates.min() < -1):
        raise ConfigError(f"Candidates must be module indexes below {known}, or -1; found {candidates.max()}.")
    if candidates.shape[1] == 0:
        candidates = np.full((P, 1), -1)
    result = Decision.empty(P, K)
    wanted = np.full(P, K, dtype=np.int64) if slots is None else np.asarray(slots, dtype=np.int64)
    graph.eval()
    with torch.inference_mode():
        for start in range(0, P, batch):
            rows = slice(start, start + batch)
            page = encoded.take(rows)
            offered = candidates[rows]
            chosen, probabilities, score = (
                value.numpy()
                for value in graph(
                    *map(torch.from_numpy, (page.categorical, page.numeric, page.tokens, offered.clip(min=0))),
                    torch.from_numpy(offered >= 0),
                    torch.from_numpy(wanted[rows]),
                )
            )
            result.put(rows, offered, chosen, probabilities, score)
    return result
