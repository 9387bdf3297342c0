"""What visitors do with the pages they were shown: clicks, watches, carts, purchases, as a log would hold them.

A purchase comes minutes to hours after its click, with the item and price of the click. It names no module: its page_id
is null, or a later page of the session if one was open then, so it has to be traced by user and item. A purchase of an
anonymous visit has no user to trace it by; a checkout within half an hour of the click still knows the page, module and
slot it came from, a later one knows nothing and is lost to the log's reader (about 2 % of all purchases).
"""

from dataclasses import dataclass, fields

import numpy as np

from pageopt.simulator.catalog import Catalog
from pageopt.simulator.contexts import DAY, SECOND, START, Contexts, pick_items
from pageopt.simulator.pull import Aim

NONE = -1
KINDS = ("click", "watch", "cart", "purchase")
_MINUTE = 60 * SECOND
_PAGE_OPEN = 10 * _MINUTE  # how long the last page of a session stays open
_CHECKOUT = 30 * _MINUTE  # an anonymous checkout remembers its click for this long
_MEDIAN_DELAY, _DELAY_SPREAD = 35 * _MINUTE, 1.1  # log-normal time from click to purchase
_OFF_AIM = 0.12  # share of clicks on an item that is not what the module aims at


@dataclass(frozen=True)
class Events:
    """Events of a batch, in time order; rows of the batch's contexts. All `[E]`."""

    ts: np.ndarray  # int64 µs
    kind: np.ndarray  # index into KINDS
    source: np.ndarray  # page (row) of the click that led here
    source_slot: np.ndarray  # its slot, 0-based
    page: np.ndarray  # page (row) that the log names, NONE where it names none
    module: np.ndarray  # module index that the log names, NONE where it names none
    slot: np.ndarray  # 0-based slot that the log names, NONE where it names none
    item: np.ndarray  # item index

    def __len__(self) -> int:
        return len(self.ts)

    def take(self, rows: np.ndarray) -> "Events":
        """Some of the events."""
        return Events(*(getattr(self, field.name)[rows] for field in fields(self)))


def react(
    catalog: Catalog,
    contexts: Contexts,
    modules: np.ndarray,
    clicked: np.ndarray,
    conversion: np.ndarray,
    rng: np.random.Generator,
) -> Events:
    """Draw the events that follow from the clicks.

    Args:
        catalog: the shop.
        contexts: P pages.
        modules: `[P, slots]` module indices shown.
        clicked: bool `[P, slots]`.
        conversion: `[clicks]` P(purchase | click) of the clicked slots, in row-major order.
        rng: of the draws.
    """
    page, slot = np.nonzero(clicked)
    count = len(page)
    module = modules[page, slot]
    stage = contexts.stage[page]
    time = contexts.ts[page] + 2 * SECOND + (rng.random(count) * (_dwell(contexts)[page] - 3 * SECOND)).astype(np.int64)
    item = _items(catalog, contexts, page, module, rng)

    bought = rng.random(count) < conversion
    carted = rng.random(count) < np.where(bought, 0.9, 0.05 + 0.12 * stage)
    watched = rng.random(count) < np.where(bought, 0.25, 0.12)
    soon = (rng.uniform(2, 50, (2, count)) * SECOND).astype(np.int64)
    delay = np.maximum(_MEDIAN_DELAY * np.exp(rng.normal(0, _DELAY_SPREAD, count)), _MINUTE).astype(np.int64)
    paid = time + delay
    bought &= paid < START + (catalog.params.days + 1) * DAY  # the log closes a day after its last page

    named = (page, module, slot)
    at_checkout = contexts.anonymous[page] & (delay <= _CHECKOUT)
    open_page = np.where(contexts.anonymous[page], NONE, _open_page(contexts, page, paid))
    of_purchase = (
        np.where(at_checkout, page, open_page),
        np.where(at_checkout, module, NONE),
        np.where(at_checkout, slot, NONE),
    )
    parts = [
        (np.ones(count, dtype=bool), time, *named),
        (watched, time + soon[0], *named),
        (carted, time + soon[1], *named),
        (bought, paid, *of_purchase),
    ]
    rows = [np.flatnonzero(part[0]) for part in parts]
    ts, log_page, log_module, log_slot = (
        np.concatenate([part[column][keep] for part, keep in zip(parts, rows, strict=True)]) for column in range(1, 5)
    )
    click = np.concatenate(rows)
    events = Events(
        ts=ts,
        kind=np.repeat(np.arange(len(KINDS)), [len(keep) for keep in rows]),
        source=page[click],
        source_slot=slot[click],
        page=log_page,
        module=log_module,
        slot=log_slot,
        item=item[click],
    )
    return events.take(np.argsort(events.ts, kind="stable"))


def _dwell(contexts: Contexts) -> np.ndarray:
    """Time on a page `[P]`, µs: until the next page of its session, a minute at most."""
    order = np.lexsort((contexts.ts, contexts.session))
    session, ts = contexts.session[order], contexts.ts[order]
    dwell = np.full(len(contexts), _MINUTE)
    same = np.flatnonzero(session[1:] == session[:-1])
    dwell[order[same]] = np.minimum(ts[same + 1] - ts[same], _MINUTE)
    return dwell


def _open_page(contexts: Contexts, page: np.ndarray, time: np.ndarray) -> np.ndarray:
    """The later page of the session that is open at `time`, NONE where there is none."""
    if not len(page):
        return np.empty(0, dtype=np.int64)
    order = np.lexsort((contexts.ts, contexts.session))
    base, span = contexts.ts.min(), 2 * DAY  # a session is shorter than that
    key = contexts.session[order] * span + (contexts.ts[order] - base)
    wanted = contexts.session[page] * span + np.minimum(time - base, span - 1)
    last = order[np.searchsorted(key, wanted, side="right") - 1]
    is_open = (last != page) & (time - contexts.ts[last] <= _PAGE_OPEN)
    return np.where(is_open, last, NONE)


def _items(
    catalog: Catalog, contexts: Contexts, page: np.ndarray, module: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Clicked items: of the category the module aims at, near to what the person wishes for."""
    count = len(page)
    present, hero = contexts.category[page], contexts.hero_category[page]
    completing = catalog.complements[hero]
    fits = (completing == present[:, None]).any(axis=1)
    complement = np.where(fits, present, completing[np.arange(count), rng.integers(0, completing.shape[1], count)])
    favourite = catalog.people.preference.argmax(axis=1)[contexts.person[page]]
    aim = catalog.modules.aim[module]
    category = np.select(
        [aim == Aim.HERO, aim == Aim.COMPLEMENT, aim == Aim.HISTORY],
        [hero, complement, favourite],
        catalog.modules.fixed_category[module],
    )
    anything = rng.choice(catalog.params.categories, size=count, p=catalog.category_share)
    category = np.where(rng.random(count) < _OFF_AIM, anything, category)
    return pick_items(rng, catalog, category, contexts.wish[page])
