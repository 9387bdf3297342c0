"""What items are about, in a few numbers: topics of the words of their titles, their categories and brands.

Topics are the parts of a non-negative matrix factorisation (Lee and Seung 1999) of items and words, so that an item is
of several topics, each by a share, and shares of all that a user looked at add up like counts of anything else.
"""

from collections.abc import Iterable

import numpy as np
import pyarrow as pa
from scipy.sparse import csr_array
from sklearn.decomposition import NMF
from sklearn.feature_extraction.text import TfidfTransformer

from pageopt.features.columns import words

FITTED = 50_000  # items, evenly from the table, that topics are learned from
MOST_WORDS = 5_000
RARE = 3  # items that a word must be of
LEAST_SHARE = 0.1  # smaller ones are left to the item's other topics


def item_topics(items: pa.Table, count: int) -> pa.Table:
    """Shares of topics: item, key (the topic's number, below `count`) and times, which add up to 1 for each item.

    Items of no word that others have too, such as items without a title, have no row. `items` has item, title,
    category and brand, in the order of item. The same items give the same topics.
    """
    table = _counts(items)
    parts = min(count, *table.shape)
    if parts < 1:
        return pa.table(
            {"item": pa.array([], pa.int64()), "key": pa.array([], pa.int64()), "times": pa.array([], pa.float64())}
        )
    table = TfidfTransformer(sublinear_tf=True).fit_transform(table)
    model = NMF(parts, init="nndsvda", random_state=0, max_iter=200, tol=1e-3)
    step = -(-table.shape[0] // FITTED)
    model.fit(table[::step])
    shares = _shares(_shares(model.transform(table), 0.0), LEAST_SHARE)
    row, topic = np.nonzero(shares)
    return pa.table({"item": items["item"].to_numpy()[row].astype(np.int64), "key": topic, "times": shares[row, topic]})


def _shares(weights: np.ndarray, least: float) -> np.ndarray:
    kept = np.where(weights >= least, weights, 0.0)
    total = kept.sum(axis=1, keepdims=True)
    return np.divide(kept, total, out=np.zeros_like(kept), where=total > 0)


def _counts(items: pa.Table) -> csr_array:
    """Which items have which words, `[items, words]`, of words that are neither rare nor everywhere."""
    rows: list[int] = []
    columns: list[int] = []
    code: dict[str, int] = {}
    for row, (title, category, brand) in enumerate(
        zip(*(items[name].to_pylist() for name in ("title", "category", "brand")), strict=True)
    ):
        for word in sorted(_said(title, category, brand)):
            rows.append(row)
            columns.append(code.setdefault(word, len(code)))
    place = np.asarray(columns, dtype=np.int64)
    number = np.bincount(place, minlength=len(code))
    chosen = np.lexsort((np.arange(len(code)), -number))[:MOST_WORDS]
    chosen = chosen[(number[chosen] >= RARE) & (number[chosen] < len(items))]
    return csr_array((np.ones(len(rows)), (rows, place)), shape=(len(items), len(code)))[:, np.sort(chosen)]


def _said(title: str | None, category: str | None, brand: str | None) -> Iterable[str]:
    """The words of an item; category and brand are told from words of the title."""
    named = {f"{name} {value}" for name, value in (("category", category), ("brand", brand)) if value}
    return {*words(title or ""), *named}
