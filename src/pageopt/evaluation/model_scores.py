"""What the page model says of modules that were shown, by one head."""

from numpy.typing import NDArray

from pageopt.evaluation.estimate import Floats
from pageopt.features.encoder import EncodedPages
from pageopt.models.heads import HEADS
from pageopt.models.network import PageNetwork
from pageopt.models.shown import shown_chances


def shown_probabilities(model: PageNetwork, encoded: EncodedPages, module: NDArray, head: str) -> Floats:
    """Probability `[pages, slots]` by `head` ("click", "intent" or "purchase") of `module [pages, slots]` (-1: 0)."""
    return shown_chances(model, encoded, module)[..., HEADS.index(head)]
