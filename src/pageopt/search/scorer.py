"""The trained model as a scorer of the reference search: NumPy, one page, one prefix at a time.

It shares no code with `pageopt.search.graph`, so that the two can be held against each other.
Shapes: N candidates, F families, H width, Q heads.
"""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray

from pageopt.features.encoder import EncodedPages
from pageopt.models.trnn import HEADS, Trnn

Floats = NDArray[np.float64]


class ReferenceScorer:
    """Gives, page by page, the `step` of `pageopt.search.beam.beam_search`, in double precision."""

    def __init__(self, model: Trnn, objective: str):
        weights = {name: value.detach().double().numpy() for name, value in model.named_parameters()}
        self._model = model
        self._head = HEADS.index(objective)
        self._hidden = model.config.history == "hidden"
        self._family_of = model.family_of.numpy()
        self._families = weights["family.weight"]  # the last row is the unknown family
        self._input, self._recurrent = weights["lstm.weight_ih_l0"], weights["lstm.weight_hh_l0"]
        self._bias = weights["lstm.bias_ih_l0"] + weights["lstm.bias_hh_l0"]
        self._from_output = weights["from_output.weight"]
        self._heads, self._heads_bias = weights["heads.weight"], weights["heads.bias"]
        with torch.no_grad():
            self._part = model.module_part().double().numpy()  # [M, H]

    def page(
        self, encoded: EncodedPages, row: int, candidates: NDArray[np.integer]
    ) -> tuple[Callable[[tuple[int, ...]], Floats], NDArray[np.int64]]:
        """Arguments `step` and `families` of `beam_search` for one page and its candidates `[N]` (module indexes)."""
        family = self._family_of[candidates]
        states: dict[tuple[int, ...], tuple[Floats, Floats]] = {}
        states[()] = self._context(encoded, row), np.zeros(self._recurrent.shape[1])

        def state(prefix: tuple[int, ...]) -> tuple[Floats, Floats]:
            if prefix not in states:
                last = len(self._families) - 1 if self._hidden else family[prefix[-1]]
                h, c = self._cell(self._families[[last]], state(prefix[:-1]))
                states[prefix] = h[0], c[0]
            return states[prefix]

        def step(prefix: tuple[int, ...]) -> Floats:
            output = self._cell(self._families, state(prefix))[0]  # [F + 1, H]
            hidden = np.maximum(output[family] @ self._from_output.T + self._part[candidates], 0)  # [N, H]
            return _sigmoid(hidden @ self._heads[self._head] + self._heads_bias[self._head])

        return step, family

    def _context(self, encoded: EncodedPages, row: int) -> Floats:
        page = encoded.take(slice(row, row + 1))
        with torch.inference_mode():
            h_x = self._model.encode_page(*map(torch.from_numpy, (page.categorical, page.numeric, page.tokens)))
        return h_x[0].double().numpy()

    def _cell(self, x: Floats, state: tuple[Floats, Floats]) -> tuple[Floats, Floats]:
        """LSTM cell for inputs `[…, E]` that meet one state: h and c `[…, H]`."""
        h, c = state
        i, f, u, o = np.split(x @ self._input.T + self._recurrent @ h + self._bias, 4, axis=-1)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(u)
        return _sigmoid(o) * np.tanh(c), c


def _sigmoid(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))
