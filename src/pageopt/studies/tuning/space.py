"""What a trial tries: params drawn at random from the declared space (Bergstra and Bengio 2012).

Random and not adaptive, so that trial k is known without the others: a search can be interrupted, made longer or split
without a change to any trial, and its trials are independent evidence of what each param does.
"""

import math
from hashlib import blake2b

import numpy as np

from pageopt.config import Choice, Range, TrainParams, TuneParams

Value = int | float | str | bool


def draw(params: TuneParams, trial: int) -> dict[str, Value]:
    """The values of trial `trial`, from 0, by name: a function of the seed, the trial, and the name with its domain."""
    return {name: _draw(domain, _generator(params.seed, trial, name)) for name, domain in params.space.items()}


def _generator(seed: int, trial: int, name: str) -> np.random.Generator:
    """Each name has its own: another param in the space leaves the draws of the rest as they were."""
    key = int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little")
    return np.random.default_rng([seed, trial, key])


def _draw(domain: Choice | Range, random: np.random.Generator) -> Value:
    if isinstance(domain, Choice):
        return domain.choice[int(random.integers(len(domain.choice)))]
    at = float(random.random())
    if domain.log:
        low, high = math.log(domain.low), math.log(domain.high)
        return float(f"{math.exp(low + at * (high - low)):.4g}")
    return float(f"{domain.low + at * (domain.high - domain.low):.4g}")


def with_values(train: TrainParams, values: dict[str, Value]) -> TrainParams:
    """`train` with the values of a trial, validated as params.yaml is. Raises pydantic's ValidationError."""
    return TrainParams.model_validate({**train.model_dump(), **values})
