"""How modules of a page act on each other: the laws a shop can have, one by param `page_effects`.

    none     not at all
    content  modules above with alike content take log-odds away, those that a module completes add some
    family   the more modules above are of a module's own family, the less it is clicked, less and less so
    clicks   every click above lowers the chance of the next: what was sought is found
    below    as content, but modules below count as well as those above, for half as much

In all of them the log-odds of a click are what module and visitor give, plus what this module says.
"""

from typing import Literal

import numpy as np

from pageopt.policies.greedy import EMPTY

Law = Literal["none", "content", "family", "clicks", "below"]
LAWS: tuple[Law, ...] = ("none", "content", "family", "clicks", "below")

_MOST_LOSS, _MOST_GAIN = 3.0, 1.5  # bounds of what modules add, log-odds
_SATURATION = -1.3  # of the first module above of the same family; of n: log2(1 + n) times that
_BELOW = 0.5  # what a module below counts, beside one above
_PER_CLICK = -1.1


class PageEffects:
    """One law, over the modules of one catalog."""

    def __init__(self, law: Law, interaction: np.ndarray, family: np.ndarray) -> None:
        """`interaction [modules, modules]`: what the column's module adds to the row's; `family [modules]`."""
        self._law = law
        self._interaction = interaction
        self._family = family
        self.per_click = _PER_CLICK if law == "clicks" else 0.0
        """Log-odds that each click above adds."""

    @property
    def settled(self) -> bool:
        """Whether what a module earns depends on the modules above alone, and not on their clicks."""
        return self._law in ("none", "content", "family")

    def of_modules(self, modules: np.ndarray) -> np.ndarray:
        """Log-odds `[..., K]` that the other modules of the pages `[..., K]` add to each, whatever was clicked."""
        effect = np.zeros(modules.shape, dtype=np.float32)
        for slot in range(modules.shape[-1]):
            effect[..., slot] = self.of_slot(modules, slot)
        return effect

    def of_slot(self, modules: np.ndarray, slot: int) -> np.ndarray:
        """The same of one slot of the pages, `[...]`."""
        if self._law in ("none", "clicks"):
            return np.zeros(modules.shape[:-1], dtype=np.float32)
        others = modules if self._law == "below" else modules[..., :slot]
        shown, here = others != EMPTY, modules[..., slot, None]
        if self._law == "family":
            alike = shown & (self._family[others] == self._family[here])
            return bounded((_SATURATION * np.log2(1 + alike.sum(axis=-1))).astype(np.float32))
        pair = np.where(shown, self._interaction[here, others], 0)  # 0 of a module with itself
        if self._law == "below":
            pair[..., slot + 1 :] *= _BELOW
        return bounded(pair.sum(axis=-1))


def bounded(effect: np.ndarray) -> np.ndarray:
    """What modules add, held between -_MOST_LOSS and _MOST_GAIN; near 0 it is the sum itself."""
    limit = np.where(effect < 0, _MOST_LOSS, _MOST_GAIN)
    return limit * np.tanh(effect / limit)
