"""The sizes and seeds of the coverage study."""

from dataclasses import dataclass, field

from pageopt.config import EvaluateParams, RewardModelParams, ShopParams


def _shop() -> ShopParams:
    return ShopParams(
        pages=1,  # a log's size is `Settings.pages`
        days=1,
        users=4000,
        items=600,
        categories=6,
        modules=20,
        families=6,
        slots=5,
        available=12,
        traffic={"random": 1.0, "thompson": 0.0, "production": 0.0},
        propensity_samples=1,
    )


def _evaluate() -> EvaluateParams:
    return EvaluateParams(
        seed=1,
        threads=1,
        bootstrap=1000,
        confidence=0.95,
        # Nothing is cut: a cut weight is a bias that was chosen, and the study asks for those that were not.
        max_weight=1e6,
        max_cascade_weight=1e6,
        reward_model=RewardModelParams(folds=3, rounds=30, depth=4, learning_rate=0.15),
    )


@dataclass(frozen=True)
class Settings:
    """What the study repeats.

    Attributes:
        logs: independent logs.
        pages: pages of each.
        seed: of the shop; logs take the seeds after it.
        truth_pages: pages that the true value is the mean of.
        training_pages: pages of the log that the target policy and the encoder come from.
        production: pages of production beside them, as a share.
        shop: the shop, but for its page effects.
        evaluate: estimators, as stage evaluate takes them.
    """

    logs: int = 30
    pages: int = 9000
    seed: int = 11
    production: float = 0.2
    truth_pages: int = 1_000_000
    training_pages: int = 20_000
    shop: ShopParams = field(default_factory=_shop)
    evaluate: EvaluateParams = field(default_factory=_evaluate)
