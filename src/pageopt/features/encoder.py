"""The one encoder: raw fields of pages and modules to the integers and floats a model reads.

Fitted on the train split by stage prepare, saved as JSON and safetensors, and loaded by training, export checks and
serving, so that a page means the same tensors everywhere. Needs NumPy and safetensors only.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from pageopt.errors import ContractError
from pageopt.features.columns import Categories, Numerics, Tokens
from pageopt.problems.fields import Field, of_kind

_JSON, _ARRAYS = "encoder.json", "encoder.safetensors"
_STATISTICS = ("low", "high", "log", "mean", "scale")
_MODULES = ("module_family", "module_categorical", "module_numeric", "module_tokens", "module_columns")
_FORMAT = 2


@dataclass(frozen=True)
class EncodedPages:
    """Encoded page contexts: P pages, C categorical, D numeric and X text fields, T tokens a text.

    Attributes:
        categorical: int64 `[P, C]`, codes below `Encoder.cardinalities`.
        numeric: float32 `[P, D]`, standardised, 0 where missing.
        tokens: int64 `[P, X, T]`, codes below `Encoder.vocabulary_size`, padded with 0.
    """

    categorical: np.ndarray
    numeric: np.ndarray
    tokens: np.ndarray

    def __len__(self) -> int:
        return len(self.categorical)

    def take(self, rows: np.ndarray | slice) -> "EncodedPages":
        """These pages only, in this order (an index array, a mask or a slice)."""
        return EncodedPages(self.categorical[rows], self.numeric[rows], self.tokens[rows])


@dataclass(frozen=True, eq=False, kw_only=True)
class Encoder:
    """Raw fields to `EncodedPages`, and the encoded modules.

    Attributes:
        page_fields: every page field; the columns of `categorical` are its categorical fields in this order, and so on.
        module_fields: the same for the modules table.
        categories: codes of each categorical page field, in order: the value at i has code i + 2. `numerics` and
            `tokens` are those of the others.
        cardinalities: rows an embedding of each categorical page field needs (0 missing, 1 unknown, 2.. known values).
        vocabulary_size: rows an embedding of tokens needs; pages and modules share the vocabulary.
        families: sorted names; `module_family` int64 `[M]` indexes them.
        module_ids: sorted; a module's index is its place here.
        module_categorical, module_numeric, module_tokens: int64 `[M, Cm]`, float32 `[M, Dm]`, int64 `[M, Xm, T]`.
        module_cardinalities: as `cardinalities`, for module fields.
        module_columns: int64 `[M, A]`, the columns of `EncodedPages.numeric` that are about a module and not about
            others, such as how a user has taken to its family; -1 where there is none.
        slots: K, the slots of a page.
    """

    page_fields: tuple[Field, ...]
    module_fields: tuple[Field, ...]
    categories: Mapping[str, Categories]
    numerics: Numerics
    tokens: Tokens
    families: tuple[str, ...]
    module_ids: tuple[str, ...]
    module_family: np.ndarray
    module_categorical: np.ndarray
    module_cardinalities: tuple[int, ...]
    module_numeric: np.ndarray
    module_tokens: np.ndarray
    module_columns: np.ndarray
    slots: int

    @cached_property
    def _texts(self) -> tuple[str, ...]:
        return of_kind(self.page_fields, "text")

    @classmethod
    def fit(
        cls,
        page_fields: Sequence[Field],
        pages: Mapping[str, Sequence | np.ndarray],
        module_fields: Sequence[Field],
        modules: Mapping[str, Sequence | np.ndarray],
        *,
        slots: int,
        min_count: int,
        title_tokens: int,
        vocabulary: int,
    ) -> "Encoder":
        """Fit on train pages and on the modules table.

        Args:
            page_fields: the fields of a page.
            pages: train columns by name, one value a page; each column is read once or twice, so it may load lazily.
            module_fields: the fields of a module.
            modules: columns by name, one value a module, with `module_id` (sorted, unique) and `family` among them.
            slots: K.
            min_count: pages a categorical value or a word must occur on to get a code of its own. Values of modules
                always do: there are few, and each is its own evidence.
            title_tokens: T, words kept of a text.
            vocabulary: most words that get a code.

        Raises:
            ContractError: module ids that are not sorted and unique.
        """
        page_fields, module_fields = tuple(page_fields), tuple(module_fields)
        page_texts, module_texts = of_kind(page_fields, "text"), of_kind(module_fields, "text")
        tokens = Tokens.fit(
            [*(pages[name] for name in page_texts), *(modules[name] for name in module_texts)],
            length=title_tokens,
            size=vocabulary,
            min_count=min_count,
        )
        names = of_kind(page_fields, "categorical")
        return cls(
            page_fields=page_fields,
            module_fields=module_fields,
            categories={name: Categories.fit(pages[name], min_count=min_count) for name in names},
            numerics=Numerics.fit(
                of_kind(page_fields, "numeric"), pages, plain={field.name for field in page_fields if field.by}
            ),
            module_columns=_about(page_fields, modules),
            tokens=tokens,
            slots=slots,
            **_of_modules(module_fields, modules, tokens),
        )

    @property
    def cardinalities(self) -> tuple[int, ...]:
        """Rows an embedding of each categorical page field needs."""
        return tuple(categories.cardinality for categories in self.categories.values())

    @property
    def vocabulary_size(self) -> int:
        """Rows an embedding of tokens needs."""
        return self.tokens.size

    @property
    def title_tokens(self) -> int:
        """T, tokens a text is cut or padded to."""
        return self.tokens.length

    def categorical_place(self, name: str) -> int:
        """Column of a categorical page field in `EncodedPages.categorical`."""
        return list(self.categories).index(name)

    def encode(self, fields: Mapping[str, Sequence | np.ndarray]) -> EncodedPages:
        """Raw columns by name, each one value a page, to `EncodedPages`. The same for one request and a million pages.

        A column that is not there, and a value None or NaN, is missing; columns that are no fields are ignored.

        Raises:
            ContractError: no column, columns of different lengths, or a numeric column that does not hold numbers.
        """
        if not fields:
            raise ContractError("Nothing to encode: give at least one column, for example 'platform'.")
        rows = len(next(iter(fields.values())))
        nothing: list[None] = [None] * rows
        try:
            categorical = [
                categories.encode(fields.get(name, nothing), rows) for name, categories in self.categories.items()
            ]
            tokens = [self.tokens.encode(fields.get(name, nothing), rows) for name in self._texts]
        except (TypeError, ValueError, IndexError):
            raise ContractError(self._complaint(fields, rows)) from None
        return EncodedPages(
            categorical=_stack(categorical, rows),
            numeric=self.numerics.encode(fields, rows),
            tokens=_stack(tokens, rows, self.tokens.length),
        )

    def save(self, folder: Path) -> None:
        """Write encoder.json and encoder.safetensors into `folder`, byte for byte the same for the same encoder."""
        folder.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "format": _FORMAT,
            "slots": self.slots,
            "title_tokens": self.tokens.length,
            "page_fields": [asdict(field) for field in self.page_fields],
            "module_fields": [asdict(field) for field in self.module_fields],
            "categories": {name: list(categories.values) for name, categories in self.categories.items()},
            "vocabulary": list(self.tokens.vocabulary),
            "families": list(self.families),
            "module_ids": list(self.module_ids),
            "module_cardinalities": list(self.module_cardinalities),
        }
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        (folder / _JSON).write_text(text, encoding="utf-8")
        arrays = {name: np.asarray(getattr(self.numerics, name), dtype=np.float64) for name in _STATISTICS}
        arrays |= {name: getattr(self, name) for name in _MODULES}
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, folder / _ARRAYS)

    @classmethod
    def load(cls, folder: Path) -> "Encoder":
        """Read what `save` wrote. Raises ContractError where it is missing or not readable."""
        try:
            content = json.loads((folder / _JSON).read_text(encoding="utf-8"))
            arrays = load_file(folder / _ARRAYS)
            if content["format"] != _FORMAT:
                raise ContractError(
                    f"{folder / _JSON} has format {content['format']}, this version reads {_FORMAT}. Run prepare again."
                )
            page_fields = tuple(Field(**field) for field in content["page_fields"])
            return cls(
                page_fields=page_fields,
                module_fields=tuple(Field(**field) for field in content["module_fields"]),
                categories={name: Categories(values) for name, values in content["categories"].items()},
                numerics=Numerics(of_kind(page_fields, "numeric"), **{name: arrays[name] for name in _STATISTICS}),
                tokens=Tokens(content["vocabulary"], content["title_tokens"]),
                families=tuple(content["families"]),
                module_ids=tuple(content["module_ids"]),
                module_cardinalities=tuple(content["module_cardinalities"]),
                slots=content["slots"],
                **{name: arrays[name] for name in _MODULES},
            )
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise ContractError(
                f"The encoder in {folder} cannot be read ({type(error).__name__}: {error}). Run stage prepare again."
            ) from None

    def _complaint(self, fields: Mapping[str, Sequence | np.ndarray], rows: int) -> str:
        for name in (*self.categories, *self._texts):
            column = fields.get(name)
            if column is not None and len(column) != rows:
                return f"Field '{name}' has {len(column)} values where the first has {rows}. Give one value a page."
            if column is not None and any(isinstance(value, list | dict) for value in column):
                return f"Field '{name}' must hold text, numbers or nulls. Give one plain value a page."
        return "A field cannot be encoded. Give one plain value a page."


def _of_modules(
    fields: tuple[Field, ...], modules: Mapping[str, Sequence | np.ndarray], tokens: Tokens
) -> dict[str, Any]:
    """What an encoder holds of its modules. Raises ContractError for ids that are not sorted and unique."""
    module_ids = [str(value) for value in modules["module_id"]]
    if module_ids != sorted(set(module_ids)):
        raise ContractError("Modules must be sorted by module_id without repeats before the encoder is fitted.")
    count = len(module_ids)
    families, codes = np.unique([str(value) for value in modules["family"]], return_inverse=True)
    categories = {name: Categories.fit(modules[name], min_count=1) for name in of_kind(fields, "categorical")}
    texts = [tokens.encode(modules[name], count) for name in of_kind(fields, "text")]
    return {
        "module_ids": tuple(module_ids),
        "families": tuple(families.tolist()),
        "module_family": codes.astype(np.int64),
        "module_categorical": _stack([c.encode(modules[name], count) for name, c in categories.items()], count),
        "module_cardinalities": tuple(c.cardinality for c in categories.values()),
        "module_numeric": Numerics.fit(of_kind(fields, "numeric"), modules).encode(modules, count),
        "module_tokens": _stack(texts, count, tokens.length),
    }


def _about(page_fields: tuple[Field, ...], modules: Mapping[str, Sequence | np.ndarray]) -> np.ndarray:
    """`Encoder.module_columns`: for each property, the columns of the value that a module has."""
    parts = [np.zeros((len(modules["module_id"]), 0), dtype=np.int64)]
    numeric = [field for field in page_fields if field.kind == "numeric"]
    for by in dict.fromkeys(field.by for field in numeric if field.by):
        columns: dict[str, list[int]] = {}
        for column, field in enumerate(numeric):
            if field.by == by:
                columns.setdefault(field.key, []).append(column)
        nothing = [-1] * max(map(len, columns.values()))
        parts.append(np.array([columns.get(str(value), nothing) for value in modules[by]], dtype=np.int64))
    return np.concatenate(parts, axis=1)


def _stack(columns: list[np.ndarray], rows: int, length: int | None = None) -> np.ndarray:
    """Columns side by side, int64 `[rows, columns]` or `[rows, columns, length]`, also where there is none."""
    if columns:
        return np.stack(columns, axis=1)
    return np.zeros((rows, 0) if length is None else (rows, 0, length), dtype=np.int64)
