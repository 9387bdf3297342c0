"""What draws a visitor to one module rather than to another, and how much of it is of which kind.

The pull is the log-odds of a click that a visit adds to a module: less what it adds to every module of the visit, and
less what every visit adds to the module. Its variance is the same in every shop and falls into three parts:

    personal  the person's lasting taste, half of it for families of modules, half for content
    mood      for content too; it lasts for a session and shows in nothing but the clicks
    shown     what the page shows, hero item and its category, and the mission, which shows in what is looked at

The shares of the first two are params of the shop. How much a unit of each is worth follows from the catalog, in closed
form. How late in its way to a purchase a visit is (`Modules.late`) comes on top; it is 2 % of all.
"""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from pageopt.config import ShopParams

VARIANCE = 1.15  # of the pull: a static page earns about half a click, and a page for each visit at most twice as much
# Of the shown part, before scaling, a unit of content: of the mission's category, the mission itself, the hero item.
CATEGORY, MISSION, HERO = 1.4, 0.45, 1.0
OWN_CONTENT = 0.7  # length of an item's content apart from that of its category
CHOICE = 2.0  # log-odds of looking at an item, a unit of content in the direction that is wished for


class Aim(IntEnum):
    """Which items a module recalls, relative to the page."""

    HERO = 0
    COMPLEMENT = 1
    HISTORY = 2
    FIXED = 3


@dataclass(frozen=True)
class Pull:
    """Log-odds that a unit of each part is worth.

    Attributes:
        taste: a unit of the person's taste, times the module's content.
        family: a unit of the person's taste for the module's family.
        mood: a unit of mood, times the module's content.
        shown: a unit of the shown direction, times the module's content.
        aim: `[modules, hero category, mission's category]` float32: what the module's aim is worth there.
    """

    taste: float
    family: float
    mood: float
    shown: float
    aim: np.ndarray


def heroes(params: ShopParams, complements: np.ndarray) -> np.ndarray:
    """P(hero category | mission's category) `[categories, categories]`, a row a mission.

    Off the mission, the hero is of a category that completes the mission's, or of any other one, as often.
    """
    count = len(complements)
    own = np.eye(count, dtype=bool)
    other = np.where(own, 0.0, 0.5 / (count - 1))
    for column in complements.T:
        other[np.arange(count), column] += 0.5 / complements.shape[1]
    return np.where(own, 1 - params.off_mission, params.off_mission * other)


def pull(
    params: ShopParams,
    *,
    content: np.ndarray,
    family: np.ndarray,
    aim: np.ndarray,
    fixed_category: np.ndarray,
    category_content: np.ndarray,
    complements: np.ndarray,
    mission_share: np.ndarray,
) -> Pull:
    """How strong each part is in a shop of modules `content [modules, CONTENT]`, `family`, `aim` and `fixed_category`.

    `mission_share [categories]` says how many missions are of each category.
    """
    between = float(np.square(content - content.mean(axis=0)).sum(axis=1).mean())
    families = 1 - float(np.square(np.bincount(family) / len(family)).sum())
    table = _aims(aim, fixed_category, complements)
    chance = (mission_share[:, None] * heroes(params, complements)).T  # [hero, mission]
    where = CATEGORY * category_content[None, :, :] + HERO * category_content[:, None, :]
    seen = table + np.einsum("md,hcd->mhc", content, where)
    seen = seen - seen.mean(axis=0)
    seen = seen - np.einsum("mhc,hc->m", seen, chance)[:, None, None]
    by_category = float(np.einsum("mhc,hc->m", np.square(seen), chance).mean())
    # The hero item's own content, chosen by the direction wished for, goes with the mission's own direction.
    spread = OWN_CONTENT**2 / content.shape[1]
    item = spread + (CHOICE * spread) ** 2
    together = CHOICE * spread * np.sqrt(1 - params.personal)
    within = (MISSION**2 + 2 * MISSION * HERO * together + HERO**2 * item) * between
    shown = float(np.sqrt(VARIANCE * (1 - params.personal - params.mood) / (by_category + within)))
    return Pull(
        taste=float(np.sqrt(VARIANCE * params.personal / 2 / between)),
        family=float(np.sqrt(VARIANCE * params.personal / 2 / families)),
        mood=float(np.sqrt(VARIANCE * params.mood / between)),
        shown=shown,
        aim=(shown * table).astype(np.float32),
    )


def _aims(aim: np.ndarray, fixed_category: np.ndarray, complements: np.ndarray) -> np.ndarray:
    """`[modules, hero category, mission's category]`: what a module's aim is worth there, before scaling."""
    count = len(complements)
    hero, mission = np.meshgrid(np.arange(count), np.arange(count), indexing="ij")
    completes = (complements[hero] == mission[..., None]).any(axis=-1)
    aim, fixed = aim[:, None, None], fixed_category[:, None, None]
    table = np.select(
        [aim == Aim.HERO, aim == Aim.COMPLEMENT, aim == Aim.FIXED],
        [
            np.where(mission == hero, 0.5, -0.9),
            np.where(completes, 1.3, np.where(mission == hero, 0.0, -0.4)),
            np.where(mission == fixed, 1.5, np.where(hero == fixed, 0.3, -0.5)),
        ],
        0.0,
    )
    return np.broadcast_to(table, (len(aim), count, count))
