"""The best page that a log lets anybody find: a search with the true model over what is shown of a visit.

The oracle knows what a visitor wants; the knowable page knows what a log shows up to the page's time: hero item,
platform, the user's earlier pages, what they showed, and what was clicked. Everything else is averaged over, as it is
believed to be (`belief`). No model that learns from logs can do better but by chance, since none knows the true model.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pageopt.policies.greedy import EMPTY
from pageopt.simulator import truth
from pageopt.simulator.belief import PATHS, Beliefs, Page
from pageopt.simulator.catalog import CONTENT, PLATFORMS, Catalog, Stream, stream
from pageopt.simulator.model import ClickModel, Intent
from pageopt.simulator.oracle import Objective, best_pages
from pageopt.simulator.shop import Logs
from pageopt.simulator.shown import NOBODY, Shown, shown

History = Literal["all", "session", "none"]


def knowable_pages(
    log: Path | Logs,
    page_ids: np.ndarray,
    objective: Objective,
    *,
    history: History = "all",
    page_effects: bool = True,
    exact_taste: bool = False,
    visits: int = 32,
    width: int = 6,
) -> np.ndarray:
    """Module indices `[P, slots]`, in the order of module_id, -1 where a slot is empty.

    Args:
        log: data/raw of a simulated log, with pages, impressions, events and truth, or the log in memory.
        page_ids: `[P]` pages to decide.
        objective: expected clicks or expected purchases.
        history: what is known beside hero item and platform: all that the user did before, only what they did in this
            session, or nothing. What the first gains over the second is what lasting taste is worth.
        page_effects: False: the search takes modules not to act on each other. Beliefs know that they do.
        exact_taste: True: the person's tastes are known beside it, as no log shows them.
        visits: that a page is searched for, drawn from what is believed; rounded up to an even number.
        width: beams.

    Raises:
        EvaluationError: no truth or no whole log there, or pages that it does not hold.
    """
    true = log.truth if isinstance(log, Logs) else truth.read(log)
    catalog = truth.true_shop(true.schema).catalog
    seen = shown(log, catalog)
    judged = seen.rows(page_ids)
    person = _persons(true, page_ids) if exact_taste else None
    searched = catalog
    if not page_effects:
        searched = replace(catalog, params=catalog.params.model_copy(update={"page_effects": "none"}))
    model = ClickModel(searched)
    pages = np.full((len(judged), catalog.params.slots), EMPTY, dtype=np.int64)
    group = catalog.items.category[seen.hero_item[judged]] * len(PLATFORMS) + seen.platform[judged]
    for some, intent in believed(catalog, seen, judged, history, visits, person):
        pages[some] = best_pages(searched, model, intent, catalog.candidates[group[some]], objective, width)
    return pages


def believed(
    catalog: Catalog,
    seen: Shown,
    judged: np.ndarray,
    history: History,
    visits: int,
    person: np.ndarray | None = None,
) -> Iterator[tuple[np.ndarray, Intent]]:
    """What is believed of pages at rows `judged [P]` of the log when they are asked for.

    `person [P]` says whose tastes are known exactly, if they are.

    Yields:
        Places in `judged [B]`, and R visits for each of them, side by side.
    """
    chains = _chains(seen, judged, history)
    beliefs = Beliefs(catalog, ClickModel(catalog), len(chains))
    rng = stream(catalog.seed, Stream.KNOWABLE, 1)
    half = rng.normal(size=(len(judged), -(-visits // 2), CONTENT + catalog.params.families))
    normal = np.concatenate([half, -half], axis=1)
    uniform, which = rng.random(len(judged)), rng.integers(0, PATHS, (len(judged), normal.shape[1]))
    place = np.full(len(seen.user), -1)
    place[judged] = np.arange(len(judged))
    if person is not None:
        beliefs.know(person[place[[chain[-1] for chain in chains]]])
    length = np.array([len(chain) for chain in chains])
    before = np.full(len(chains), -1)
    for step in range(int(length.max(initial=0))):
        who = np.arange(int((length > step).sum()))  # the longest chains come first
        row = np.array([chains[number][step] for number in who])
        page = Page(seen.platform[row], seen.hero_item[row], seen.place[row])
        same = seen.session[row] == before[who]
        beliefs.begin(who[~same])
        beliefs.turn(who[same])
        beliefs.look(who, page.hero_item)
        asked = np.flatnonzero(place[row] >= 0)
        if len(asked):
            at = place[row[asked]]
            of = Page(page.platform[asked], page.hero_item[asked], page.place[asked])
            yield at, beliefs.draw(who[asked], of, normal[at], uniform[at], which[at])
        before[who] = seen.session[row]
        on = np.flatnonzero(length[who] > step + 1)
        rest = Page(page.platform[on], page.hero_item[on], page.place[on])
        beliefs.react(who[on], rest, seen.modules[row[on]], seen.clicked[row[on]])


def _chains(seen: Shown, judged: np.ndarray, history: History) -> list[np.ndarray]:
    """Rows of pages, in time order, that say something of each other, up to the last judged; the longest first."""
    number = np.arange(len(seen.user))
    chain = len(number) + number
    if history != "none":
        chain = np.where(seen.user == NOBODY, chain, seen.user if history == "all" else seen.session)
    last = np.full(2 * len(number), -1)
    np.maximum.at(last, chain[judged], judged)
    rows = np.flatnonzero(number <= last[chain])
    rows = rows[np.argsort(chain[rows], kind="stable")]
    chains = np.split(rows, np.flatnonzero(np.diff(chain[rows])) + 1)
    return sorted(chains, key=len, reverse=True) if len(rows) else []


def _persons(true: pa.Table, page_ids: np.ndarray) -> np.ndarray:
    at = pc.index_in(pa.array(np.asarray(page_ids).tolist(), pa.string()), true["page_id"])
    return true["person"].take(at).to_numpy()
