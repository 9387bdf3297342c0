"""Which slots of a shown page count as seen, where visitors look from the top down and stop at what they wanted.

A page that goes on below the first screen, or a carousel that has to be swiped, is not seen whole. To count every
shown module as a view without a click teaches a policy that what stands below a good module is bad. Under the cascade
a visitor saw the slots down to the first click; one who clicked nothing saw those that were visible at first (Bendada,
Salha and Bontempelli 2020, "Carousel Personalization in Music Streaming Apps with Contextual Bandits", section 2:
12 slots, 3 of them visible at first).

A policy learns from the views and clicks of the slots that were seen: with `seen = seen_slots(...)` they are `seen` and
`seen & clicked`.
"""

import numpy as np

from pageopt.errors import ConfigError
from pageopt.policies.greedy import EMPTY


def seen_slots(modules: np.ndarray, clicked: np.ndarray, visible: int | None) -> np.ndarray:
    """The slots that count as views.

    Args:
        modules: `[pages, slots]` module indices, -1 where a slot is empty.
        clicked: `[pages, slots]` bool.
        visible: slots that a visitor without a click has seen; as many as the page has where visitors look through all
            of it. None is the naive count, in which every shown module was seen and every click counts.

    Returns:
        `[pages, slots]` bool, False where a slot is empty.

    Raises:
        ConfigError: arrays of different shapes, a click on an empty slot, or `visible` below 1.
    """
    modules, clicked = np.asarray(modules), np.asarray(clicked, dtype=bool)
    if modules.ndim != 2 or modules.shape != clicked.shape:
        raise ConfigError(
            f"modules and clicked must have one shape [pages, slots], not {modules.shape} and {clicked.shape}."
        )
    shown = modules != EMPTY
    if (clicked & ~shown).any():
        raise ConfigError(f"Page {int(np.argmax((clicked & ~shown).any(axis=1)))} has a click on an empty slot.")
    if visible is None:
        return shown
    if visible < 1:
        raise ConfigError(f"At least one slot is visible at first, not {visible}.")
    last = np.where(clicked.any(axis=1), clicked.argmax(axis=1), visible - 1)
    return shown & (np.arange(modules.shape[1]) <= last[:, None])
