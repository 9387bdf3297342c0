"""Model and search as one graph: encoded page in, ordered page out (paper sections 5.1 and 5.2).

The search of `pageopt.search.beam`, unrolled over the slots, on B pages at once. The same module runs eagerly in
evaluation and is exported to ONNX for serving, so the code keeps to what the exporter translates faithfully: no `//`
and `%` by a size that may vary, no branches on values.

Shapes:
    B pages   N candidates   K slots   W beams   F families   H width   M modules   Q heads
    S families a step looks at: F, and the unknown one where the history is hidden

What repeats is computed once: W_m · h_m + b of all modules and W_ih · emb(f) of all families when the graph is made,
the LSTM step and W_o · o once a family and beam. A beam is scored by g = −Σ log(1 − P) = Σ softplus(logit), which ranks
pages as φ = 1 − e^(−g) does and does not lose the digits of small probabilities.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pageopt.errors import ConfigError
from pageopt.features.encoder import EncodedPages
from pageopt.models.trnn import HEADS, Trnn

INPUT_NAMES = ("categorical", "numeric", "tokens", "candidates", "available", "slots")
OUTPUT_NAMES = ("chosen", "probabilities", "score")


class PageGraph(nn.Module):
    """Decides pages of up to K slots with `width` beams, opened at slot `beam_start`, by the head `objective`.

    Raises ConfigError where the model never learned the objective, or for sizes below 1.
    """

    part_of_module: Tensor
    family_of_module: Tensor
    gates_of_family: Tensor
    recurrent: Tensor
    output: Tensor

    def __init__(self, model: Trnn, *, width: int, beam_start: int, objective: str):
        super().__init__()
        if objective not in model.config.trained_heads:
            raise ConfigError(
                f"search.objective = {objective!r}, but the model was trained on {list(model.config.losses)} and knows "
                f"{list(model.config.trained_heads)}. Set search.objective to one of these."
            )
        if width < 1 or beam_start < 1:
            raise ConfigError(f"search.width = {width} and search.beam_start = {beam_start} must be at least 1.")
        self.slots = model.config.slots
        self.families = model.config.families
        self.width = width
        self.beam_start = beam_start
        self.objective = HEADS.index(objective)
        self.hidden = model.config.history == "hidden"
        self.page_fields, self.page_layers, self.words = model.page_fields, model.page_layers, model.words
        self.heads = model.heads
        w_ih, w_hh, b_ih, b_hh = (value.detach() for value in model.lstm.all_weights[0])
        with torch.no_grad():
            seen = model.family.weight[: self.families + int(self.hidden)]
            self.register_buffer("part_of_module", model.module_part())  # [M, H]
            self.register_buffer("family_of_module", model.family_of.clone())  # [M]
            self.register_buffer("gates_of_family", seen @ w_ih.T + b_ih + b_hh)  # [S, 4H]
        self.register_buffer("recurrent", w_hh.T.contiguous())  # [H, 4H]
        self.register_buffer("output", model.from_output.weight.detach().T.contiguous())  # W_oᵀ [H, H]

    def forward(
        self, categorical: Tensor, numeric: Tensor, tokens: Tensor, candidates: Tensor, available: Tensor, slots: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Decide B pages.

        Args:
            categorical, numeric, tokens: encoded pages `[B, C]`, `[B, D]`, `[B, X, T]`.
            candidates: int64 `[B, N]`, N ≥ 1, module indexes; any valid one, such as 0, where not available.
            available: bool `[B, N]`.
            slots: int64 `[B]`, slots wanted on each page; more than K are not filled.

        Returns:
            chosen: int64 `[B, K]`, positions in `candidates`, -1 where the page ends earlier.
            probabilities: float32 `[B, K, Q]` of click, intent and purchase, 0 where the page ends earlier.
            score: float32 `[B]`, φ of the objective.
        """
        B, N = candidates.shape
        family = self.family_of_module[candidates]  # [B, N]
        part = self.part_of_module[candidates].unsqueeze(1)  # [B, 1, N, H]
        length = torch.minimum(available.sum(1), slots)  # [B] slots that will be filled
        page = torch.arange(B, device=candidates.device).unsqueeze(1)  # [B, 1]
        position = torch.arange(N, device=candidates.device)

        h = self.page_layers(self.page_fields(categorical, numeric, tokens, self.words)).unsqueeze(
            1
        )  # [B, W, H], W = 1
        c = torch.zeros_like(h)
        g = torch.zeros_like(h[..., 0])  # [B, W]
        left = available.unsqueeze(1)  # [B, W, N] not yet on the page
        above = torch.full_like(page, -1)  # [B, W] family of the module above
        steps: list[tuple[Tensor, Tensor, Tensor]] = []  # parent, choice and probabilities of each beam, by slot

        for slot in range(1, self.slots + 1):
            W = h.shape[1]
            # Where the page has ended nothing is left, all totals are −∞, and the first beam follows itself.
            going_on = (slot <= length).unsqueeze(1)  # [B, 1]
            left = left & going_on.unsqueeze(-1)
            h_all, c_all = self._lstm(h, c)  # [B, W, S, H]
            output = (h_all[:, :, : self.families] @ self.output).flatten(0, 2)  # W_o · o  [B·W·F, H]
            beam = page * W + torch.arange(W)  # [B, W] rows of beams, flattened
            row = beam.unsqueeze(-1) * self.families + family.unsqueeze(1)  # [B, W, N]
            logits = self.heads(torch.relu(output[row] + part))  # [B, W, N, Q]
            total = g.unsqueeze(-1) + functional.softplus(logits[..., self.objective])  # [B, W, N]
            other = left & (family.unsqueeze(1) != above.unsqueeze(-1))
            allowed = torch.where(other.any(-1, keepdim=True), other, left)
            total = torch.where(allowed, total, -torch.inf)

            keep = self.width if slot >= self.beam_start else 1
            best, parent, choice = _largest(total, keep)  # [B, keep]
            g = torch.where(going_on, best, g[:, :1])
            chosen = (page * W + parent) * N + choice  # rows of [B·W·N]
            steps.append(
                (
                    parent,
                    torch.where(going_on, choice, -1),
                    torch.sigmoid(logits.flatten(0, 2)[chosen]) * going_on.unsqueeze(-1),
                )
            )
            if slot == self.slots:
                break
            above = family.flatten()[page * N + choice]
            state = (page * W + parent) * h_all.shape[2] + (self.families if self.hidden else above)
            h, c = h_all.flatten(0, 2)[state], c_all.flatten(0, 2)[state]  # [B, keep, H]
            left = left.flatten(0, 1)[page * W + parent] & (position != choice.unsqueeze(-1))
        return self._trace_back(page, g, steps)

    def _lstm(self, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        """One step of each beam `[B, W, H]` into each family: `[B, W, S, H]` twice."""
        gates = (h @ self.recurrent).unsqueeze(2) + self.gates_of_family
        i, f, u, o = gates.chunk(4, -1)
        c = torch.sigmoid(f) * c.unsqueeze(2) + torch.sigmoid(i) * torch.tanh(u)
        return torch.sigmoid(o) * torch.tanh(c), c

    @staticmethod
    def _trace_back(
        page: Tensor, g: Tensor, steps: list[tuple[Tensor, Tensor, Tensor]]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The path of the best beam, which is the first."""
        chosen, probabilities = [], []
        beam = torch.zeros_like(page)  # [B, 1]
        for parent, choice, probability in reversed(steps):
            row = page * parent.shape[1] + beam
            chosen.append(choice.flatten()[row])
            probabilities.append(probability.flatten(0, 1)[row])
            beam = parent.flatten()[row]
        return torch.cat(chosen[::-1], 1), torch.cat(probabilities[::-1], 1), 1 - torch.exp(-g[:, 0])


def _largest(total: Tensor, keep: int) -> tuple[Tensor, Tensor, Tensor]:
    """The `keep` largest of `[B, W, N]`, largest first: value, beam, candidate, each `[B, keep]`.

    Ties go to the better beam, then to the earlier candidate, which is the order of the flattened array.
    """
    W, N = total.shape[1:]
    flat = total.flatten(1)
    if keep > W:  # one beam and few candidates might not give `keep` entries
        flat = functional.pad(flat, (0, keep - W), value=-torch.inf)
    if torch.compiler.is_exporting():
        # ONNX prescribes that TopK breaks ties by the lower index; torch.topk promises nothing.
        value, index = torch.topk(flat, keep)
    else:
        value, index = torch.sort(flat, dim=1, descending=True, stable=True)
        value, index = value[:, :keep], index[:, :keep]
    beam = torch.zeros_like(index)
    for w in range(1, W):
        beam = beam + (index >= w * N)
    return value, beam, torch.clamp(index - beam * N, max=N - 1)


class Decision(NamedTuple):
    """Pages decided: `module` int64 `[P, K]` module indexes, -1 where a page ends earlier; `probabilities` float32
    `[P, K, Q]` of click, intent and purchase in that slot; `score` float32 `[P]`, φ of the objective.
    """

    module: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    score: NDArray[np.float32]


def decide(
    graph: PageGraph,
    encoded: EncodedPages,
    candidates: NDArray[np.int64],
    slots: NDArray[np.int64] | None = None,
    batch: int = 256,
) -> Decision:
    """Run `graph` eagerly over P encoded pages with candidates `[P, N]`, module indexes padded with -1.

    `slots` `[P]` (default: all) limits the length of each page. Raises ConfigError for an unknown module index.
    """
    P, K = len(candidates), graph.slots
    known = len(graph.family_of_module)
    if candidates.size and (candidates.max() >= known or candidates.min() < -1):
        raise ConfigError(f"Candidates must be module indexes below {known}, or -1; found {candidates.max()}.")
    if candidates.shape[1] == 0:
        candidates = np.full((P, 1), -1)
    result = Decision(
        np.full((P, K), -1, dtype=np.int64),
        np.zeros((P, K, len(HEADS)), dtype=np.float32),
        np.zeros(P, dtype=np.float32),
    )
    wanted = np.full(P, K, dtype=np.int64) if slots is None else np.asarray(slots, dtype=np.int64)
    graph.eval()
    with torch.inference_mode():
        for start in range(0, P, batch):
            rows = slice(start, start + batch)
            page = encoded.take(rows)
            offered = candidates[rows]
            chosen, probabilities, score = (
                value.numpy()
                for value in graph(
                    *map(torch.from_numpy, (page.categorical, page.numeric, page.tokens, offered.clip(min=0))),
                    torch.from_numpy(offered >= 0),
                    torch.from_numpy(wanted[rows]),
                )
            )
            module = np.take_along_axis(offered, chosen.clip(min=0), 1)
            result.module[rows] = np.where(chosen >= 0, module, -1)
            result.probabilities[rows] = probabilities
            result.score[rows] = score
    return result
