"""Raw columns to integers and floats: the three kinds of field the encoder is made of.

Each kind is fitted on the train split and encodes one row and a million rows with the same code. A value that is None,
NaN or an empty string is missing. NumPy only: serving imports this.
"""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from pageopt.errors import ContractError

MISSING, UNKNOWN = 0, 1
FIRST_KNOWN = 2

_BLOCK = 65_536  # rows a block of float64 work space; keeps a million rows from needing gigabytes
_CLIP = (0.001, 0.999)
_HEAVY_SKEW = 1.0
_TITLES_KEPT = 65_536
_WORD = re.compile(r"\w+")


def canonical(value: object) -> str | None:
    """The text a categorical value is compared by; None where it is missing.

    Logs and JSON requests spell one value differently: 3, 3.0 and "3" are the same, as are True and "true".
    """
    if value is None or value != value:
        return None
    if isinstance(value, str):
        return value or None
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


class _Codes(dict[Any, int]):
    """Value to code. Strings that are known hit the dict itself; everything else is spelled canonically first."""

    def __missing__(self, value: object) -> int:
        if isinstance(value, str):
            return UNKNOWN
        text = canonical(value)
        return MISSING if text is None else self.get(text, UNKNOWN)


class Categories:
    """One categorical column: 0 missing, 1 unknown, 2.. the known values in sorted order."""

    def __init__(self, values: Sequence[str]) -> None:
        self.values = tuple(values)
        self._codes = _Codes({value: code for code, value in enumerate(self.values, FIRST_KNOWN)})
        self._codes[None] = MISSING
        self._codes[""] = MISSING

    @classmethod
    def fit(cls, column: Iterable[object], min_count: int) -> "Categories":
        """Know every value that occurs at least `min_count` times in `column`."""
        counts: Counter[str] = Counter()
        for value, count in Counter(column).items():
            text = canonical(value)
            if text is not None:
                counts[text] += count
        return cls(sorted(value for value, count in counts.items() if count >= min_count))

    @property
    def cardinality(self) -> int:
        """Codes there are, with missing and unknown."""
        return FIRST_KNOWN + len(self.values)

    def encode(self, column: Sequence[object] | np.ndarray, rows: int) -> np.ndarray:
        """Codes int64 `[rows]`."""
        return np.fromiter(map(self._codes.__getitem__, column), dtype=np.int64, count=rows)


class Numerics:
    """All numeric columns of one side at once: clip to train quantiles, log1p where heavy-tailed, standardise.

    Columns that are plain are clipped only: numbers of one scale, which mean the same in each of them.

    Arrays are float64 `[columns]`. Missing values become 0, the mean of the standardised column.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        low: np.ndarray,
        high: np.ndarray,
        log: np.ndarray,
        mean: np.ndarray,
        scale: np.ndarray,
    ) -> None:
        self.names = tuple(names)
        self.low, self.high, self.mean, self.scale = low, high, mean, scale
        self.log = log.astype(bool)
        self._low, self._high = low[:, None], high[:, None]
        self._mean, self._scale = mean[:, None], scale[:, None]
        self._log_rows = np.flatnonzero(self.log)

    @classmethod
    def fit(
        cls, names: Sequence[str], columns: Mapping[str, Sequence | np.ndarray], plain: Collection[str] = ()
    ) -> "Numerics":
        """Clip at the 0.1 % and 99.9 % quantiles; log1p for nonnegative columns of skewness above 1; standardise.

        A column without two different values gets scale 0, so that it encodes to 0 whatever a request holds.
        """
        low, high, log, mean, scale = (np.zeros(len(names)) for _ in range(5))
        for index, name in enumerate(names):
            values = np.asarray(columns[name], dtype=np.float64)
            values = values[np.isfinite(values)]
            if values.size == 0:
                continue
            low[index], high[index] = np.quantile(values, _CLIP)
            values = np.clip(values, low[index], high[index])
            spread = values.std()
            # Relative to the size of the values: the spread of a constant column is rounding, not information.
            if spread <= 1e-12 * max(1.0, float(np.abs(values).max())):
                mean[index] = values[0]
                continue
            if name in plain:
                scale[index] = 1.0
                continue
            skewness = float(np.mean(((values - values.mean()) / spread) ** 3))
            if low[index] >= 0 and skewness > _HEAVY_SKEW:
                log[index] = 1.0
                values = np.log1p(values)
            mean[index], scale[index] = values.mean(), 1.0 / values.std()
        return cls(names, low=low, high=high, log=log, mean=mean, scale=scale)

    def encode(self, fields: Mapping[str, Sequence | np.ndarray], rows: int) -> np.ndarray:
        """Standardised values float32 `[rows, columns]`. Raises ContractError naming a column of no numbers."""
        out = np.zeros((rows, len(self.names)), dtype=np.float32)
        if not self.names:
            return out
        present = [fields.get(name) for name in self.names]
        for start in range(0, rows, _BLOCK):
            stop = min(rows, start + _BLOCK)
            nothing = [None] * (stop - start)
            whole = stop - start == rows
            block = [nothing if c is None else c if whole else c[start:stop] for c in present]
            try:
                raw = np.array(block, dtype=np.float64)
            except (TypeError, ValueError):
                raise ContractError(self._complaint(block, stop - start)) from None
            np.clip(raw, self._low, self._high, out=raw)
            raw[self._log_rows] = np.log1p(raw[self._log_rows])
            raw -= self._mean
            raw *= self._scale
            raw[np.isnan(raw)] = 0.0
            out[start:stop] = raw.T
        return out

    def _complaint(self, block: list[Any], rows: int) -> str:
        for name, column in zip(self.names, block, strict=True):
            try:
                length = np.array(column, dtype=np.float64).shape
            except (TypeError, ValueError):
                return f"Field '{name}' must hold numbers or nulls; it holds {column[0]!r}. Give numbers."
            if length != (rows,):
                return f"Field '{name}' has shape {length} where other fields have {rows} rows. Give one value a page."
        return "Numeric fields cannot be read as numbers. Give one number or null a page."


def words(text: str) -> list[str]:
    """Lower-case word tokens of a title, in order: "USB-C Cable, 2 m" gives usb, c, cable, 2, m."""
    return _WORD.findall(text.lower())


class Tokens:
    """Words of text columns to integers by one vocabulary: 0 padding, 1 unknown, 2.. by falling frequency."""

    def __init__(self, vocabulary: Sequence[str], length: int) -> None:
        self.vocabulary = tuple(vocabulary)
        self.length = length
        known = {word: code for code, word in enumerate(self.vocabulary, FIRST_KNOWN)}

        def look_up(text: str) -> tuple[int, ...]:
            codes = [known.get(word, UNKNOWN) for word in words(text)[:length]]
            return tuple(codes + [MISSING] * (length - len(codes)))

        # Titles repeat from page to page: a request finds its hero item's tokens without splitting the title again.
        self._codes = lru_cache(maxsize=_TITLES_KEPT)(look_up)
        self._nothing = (MISSING,) * length

    @classmethod
    def fit(cls, columns: Iterable[Iterable[object]], *, length: int, size: int, min_count: int) -> "Tokens":
        """The `size` most frequent words that occur at least `min_count` times; ties go in alphabetical order."""
        counts: Counter[str] = Counter()
        for column in columns:
            for text, count in Counter(column).items():
                if isinstance(text, str):
                    for word in words(text):
                        counts[word] += count
        frequent = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        return cls([word for _, word in frequent[:size]], length)

    @property
    def size(self) -> int:
        """Rows an embedding of the tokens needs."""
        return FIRST_KNOWN + len(self.vocabulary)

    def encode(self, column: Sequence[object] | np.ndarray, rows: int) -> np.ndarray:
        """Tokens int64 `[rows, length]`, cut or padded; anything that is not a string is missing."""
        if rows == 1:
            text = column[0]
            return np.array([self._codes(text) if isinstance(text, str) else self._nothing], dtype=np.int64)
        distinct = dict.fromkeys(column)
        table = [self._codes(text) if isinstance(text, str) else self._nothing for text in distinct]
        index = {text: row for row, text in enumerate(distinct)}
        rows_of = np.fromiter(map(index.__getitem__, column), dtype=np.int64, count=rows)
        return np.array(table, dtype=np.int64).reshape(-1, self.length)[rows_of]
