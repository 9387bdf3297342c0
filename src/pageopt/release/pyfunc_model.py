"""A registered version as MLflow runs it, in `mlflow.pyfunc.load_model` and `mlflow models predict`.

MLflow imports this module, by its name, from the copy of our code that lies in the model, and calls `_load_pyfunc`:
code and plain files, nothing that is unpickled. It imports neither MLflow nor PyTorch; what it imports is what a model
carries (see `pageopt.release.logged_model`).
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pandas as pd

from pageopt.engine.decide import Decider
from pageopt.engine.requests import parse_page
from pageopt.errors import RequestError
from pageopt.problems.item import Answer
from pageopt.serving.loaded import load_bundle


class PageModel:
    """Decides the pages of a table as the endpoint does, with users as their snapshot has them."""

    def __init__(self, bundle: Path) -> None:
        self._decider = Decider(*load_bundle(bundle))

    def predict(self, pages: pd.DataFrame) -> pd.DataFrame:
        """One answer a row, under the index of `pages`.

        pages: a row is the `page` of a request to /rank_page: platform and hero_item {"item_id", "category", "title"?,
        "price"?}, and where wanted page_id, user_id, candidates, slots and features. None and NaN are left out.
        The columns of the result are the fields of the endpoint's answer; `modules` is a list, top to bottom.
        Raises RequestError that names row and field.
        """
        answers = [self._answer(row, page) for row, page in enumerate(pages.to_dict("records"))]
        return pd.DataFrame(msgspec.to_builtins(answers), pages.index, Answer.__struct_fields__)

    def _answer(self, row: int, page: dict[Any, Any]) -> Answer:
        given = {name: value for name, value in page.items() if not (pd.api.types.is_scalar(value) and pd.isna(value))}
        # pandas holds whole numbers as floats where another row has none.
        given |= {name: int(value) for name, value in given.items() if isinstance(value, float) and value.is_integer()}
        # Through the endpoint's own parser, so that both take and refuse the same.
        body = json.dumps({"page": given}, default=lambda array: array.tolist())
        try:
            return self._decider.answer(parse_page(body.encode(), self._decider.limits))[0]
        except RequestError as error:
            raise RequestError(f"Row {row}: {error} {error.fix}", field=error.field, fix=error.fix) from None


def _load_pyfunc(bundle: str) -> PageModel:
    """What MLflow calls with the folder of the bundle."""
    return PageModel(Path(bundle))
