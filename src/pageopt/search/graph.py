"""Model and search as one graph: encoded page in, ordered page out (paper sections 5.1 and 5.2).

The search of `pageopt.search.beam`, unrolled over the slots, on B pages at once. The same module runs eagerly in
evaluation and is exported to ONNX for serving, so the code keeps to what the exporter translates faithfully: no `//`
and `%` by a size that may vary, no branches on values.

Shapes:
    B pages   N candidates   K slots   W beams   H width   E size of an embedding   M modules   Q heads

What repeats is computed once: what depends on the module alone when the graph is made, what a module meets in the fit
once a page and added to with each module chosen, and of what stands above as much as the architecture allows
(pageopt.models.item.above.Steps). A beam is scored by
g = −Σ log(1 − P) = Σ softplus(logit), which ranks pages as φ = 1 − e^(−g) does and does not lose the digits of small
probabilities.
"""

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pageopt.config import SearchParams
from pageopt.errors import ConfigError
from pageopt.features.encoder import EncodedPages
from pageopt.models.item.above import Chosen, Offered, State, rows
from pageopt.models.item.heads import HEADS, chain
from pageopt.models.item.network import PageNetwork, about
from pageopt.policies.decision import Decision
from pageopt.policies.greedy import EMPTY

INPUT_NAMES = ("categorical", "numeric", "tokens", "candidates", "available", "slots")
OUTPUT_NAMES = ("chosen", "probabilities", "score")


class PageGraph(nn.Module):
    """Decides pages of up to K slots as `search` says: beams, the slot at which they open, the head that is maximised.

    Raises ConfigError where the model never learned the objective.
    """

    part_of_module: Tensor
    fit_of_module: Tensor
    fit_of_above: Tensor | None
    family_of_module: Tensor
    columns_of_module: Tensor

    def __init__(self, model: PageNetwork, search: SearchParams):
        super().__init__()
        if search.objective not in model.config.trained_heads:
            raise ConfigError(
                f"search.objective = {search.objective!r}, but the model was trained on {list(model.config.losses)} "
                f"and knows {list(model.config.trained_heads)}. Set search.objective to one of these."
            )
        self.slots = model.config.slots
        self.width = search.width
        self.beam_start = search.beam_start
        self.objective = HEADS.index(search.objective)
        self.chained = model.config.chained
        self.page_fields, self.page_layers, self.words = model.page_fields, model.page_layers, model.words
        self.heads, self.fit_of_page, self.from_about = model.heads, model.fit_of_page, model.from_about
        with torch.no_grad():
            h_m = model.encode_modules()
            self.register_buffer("part_of_module", model.from_module(h_m))  # v [M, H]
            self.register_buffer("fit_of_module", model.fit_of_module(h_m))  # [M, Q·E]
            added = None if model.fit_of_above is None else model.fit_of_above(h_m)
            self.register_buffer("fit_of_above", added)  # [M, Q·E], what a chosen module adds
            self.register_buffer("family_of_module", model.family_of.unsqueeze(1).clone())  # [M, 1]
            self.register_buffer("columns_of_module", model.module_columns.clone())  # [M, A]
        hidden = model.config.above == "hidden"
        self.above = model.above.steps(model.from_output.weight.detach(), h_m, hidden=hidden)

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
        offer, beams = self._begin(categorical, numeric, tokens, candidates, available, slots)
        taken: list[_Taken] = []
        for slot in range(1, self.slots + 1):
            u, looked = self.above.look(beams.state, offer.offered, slot)  # [B, W, N, H], or 1 for W or N
            taken.append(self._take(offer, beams, self._evidence(offer, beams, u), slot))
            if slot < self.slots:
                beams = self._go_on(offer, beams, taken[-1], looked, slot)
        choice, evidence, score = _best_path(offer.offered.page, taken)
        probability = torch.sigmoid(chain(evidence) if self.chained else evidence)
        return torch.where(offer.going_on, choice, EMPTY), probability * offer.going_on.unsqueeze(-1), score

    def _begin(
        self, categorical: Tensor, numeric: Tensor, tokens: Tensor, candidates: Tensor, available: Tensor, slots: Tensor
    ) -> tuple["_Offer", "_Beams"]:
        """What the slots of a page share, and the one beam above slot 1."""
        B, N = candidates.shape
        page = torch.arange(B).unsqueeze(1)  # [B, 1]
        position = torch.arange(N)
        offered = Offered(page, candidates, rows(self.family_of_module, candidates).transpose(1, 2))
        part = rows(self.part_of_module, candidates)
        if self.from_about is not None:
            part = part + self.from_about(about(numeric, rows(self.columns_of_module, candidates)))
        part = part.unsqueeze(1)  # [B, 1, N, H]
        length = torch.minimum(available.sum(1), slots).unsqueeze(1)  # [B, 1] slots that will be filled
        going_on = torch.arange(self.slots) < length  # [B, K]
        ended = torch.where(going_on, 0.0, -torch.inf)  # [B, K]
        gone = torch.where(available, 0.0, -torch.inf).unsqueeze(1)  # [B, 1, N]
        h_x = self.page_layers(self.page_fields(categorical, numeric, tokens, self.words))  # [B, H]
        met = self.fit_of_page(h_x).unsqueeze(1)  # [B, 1, Q·E]
        fits = rows(self.fit_of_module, candidates).unflatten(-1, (len(HEADS), -1)).permute(0, 2, 3, 1)  # [B, Q, E, N]
        state = self.above.start(h_x, offered)
        beams = _Beams(state, met, torch.zeros_like(h_x[:, :1]), torch.full_like(page, -1), gone)
        return _Offer(offered, position, part, fits, going_on, ended), beams

    def _evidence(self, offer: "_Offer", beams: "_Beams", u: Tensor) -> Tensor:
        """Of every beam and candidate `[B, W, N, Q]`."""
        fit = beams.met.unflatten(-1, (len(HEADS), -1)).transpose(1, 2) @ offer.fits  # [B, Q, W, N]
        evidence = self.heads(torch.relu(u + offer.part)) + fit.permute(0, 2, 3, 1)  # [B, W, N, Q], or 1 for W
        W = beams.g.shape[1]
        return evidence if evidence.shape[1] == W else evidence.expand(-1, W, -1, -1)

    def _take(self, offer: "_Offer", beams: "_Beams", evidence: Tensor, slot: int) -> "_Taken":
        """The best candidates of all beams in `slot`."""
        page, candidates, family = offer.offered
        W, N = beams.g.shape[1], candidates.shape[1]
        gain = functional.softplus(self._sought(evidence))  # −log(1 − P)
        total = gain + beams.gone + (beams.g + offer.ended[:, slot - 1 : slot]).unsqueeze(-1)
        apart = torch.where(family == beams.family.unsqueeze(-1), -torch.inf, total)
        total = torch.where(apart.amax(-1, keepdim=True) == -torch.inf, total, apart)  # the rule, or its lifting
        g, chosen = _largest(total, self.width if slot >= self.beam_start else 1)
        parent = sum(((chosen >= w * N).long() for w in range(1, W)), torch.zeros_like(chosen))  # [B, W]
        choice = torch.clamp(chosen - parent * N, max=N - 1)
        return _Taken(g, parent, choice, rows(evidence.flatten(0, 2), page * (W * N) + choice + parent * N))

    def _go_on(self, offer: "_Offer", beams: "_Beams", taken: "_Taken", looked: State, slot: int) -> "_Beams":
        """The beams below `slot`."""
        page, candidates, families = offer.offered
        beam = page * beams.g.shape[1] + taken.parent  # [B, W] rows of [B·W]
        family = families.squeeze(1).gather(1, taken.choice)
        module = candidates.gather(1, taken.choice)  # [B, W]
        state = self.above.go_on(looked, Chosen(beam, module, family), slot)
        met = beams.met
        if self.fit_of_above is not None:
            met = rows(met.flatten(0, 1), beam) + rows(self.fit_of_above, module)
        again = offer.position == taken.choice.unsqueeze(-1)
        gone = torch.where(again, -torch.inf, rows(beams.gone.flatten(0, 1), beam))
        return _Beams(state, met, taken.g, family, gone)

    def _sought(self, evidence: Tensor) -> Tensor:
        """Logit of the objective `[B, W, N]`, of evidence `[B, W, N, Q]`: of all candidates, so no other head's."""
        if self.chained and self.objective > 0:
            return chain(evidence[..., :: self.objective])[..., 1]  # the click's evidence and the objective's
        return evidence[..., self.objective]


class _Offer(NamedTuple):
    """What the slots of B pages share. What may not be chosen has −∞ added to its total, as `ended` has it.

    `offered`; `position` `[N]`; of the candidates their `part` v + W_a · a `[B, 1, N, H]` and side of the fit, `fits`
    `[B, Q, E, N]`; `going_on` `[B, K]`, slots that will be filled, and `ended`, the others' −∞.
    """

    offered: Offered
    position: Tensor
    part: Tensor
    fits: Tensor
    going_on: Tensor
    ended: Tensor


class _Beams(NamedTuple):
    """What W beams bring to a slot: `state` of what stands above, `met` `[B, W, Q·E]` of the fit, `g` `[B, W]`,
    `family` `[B, W]` of the module above, and −∞ for the modules that are `gone` `[B, W, N]`.
    """

    state: State
    met: Tensor
    g: Tensor
    family: Tensor
    gone: Tensor


class _Taken(NamedTuple):
    """The beams after one slot, best first: g, the beam each came from, the candidate it took `[B, W]`, and its
    evidence `[B, W, Q]`. After the page's end g is −∞ and each beam comes from the first.
    """

    g: Tensor
    parent: Tensor
    choice: Tensor
    evidence: Tensor


def _largest(total: Tensor, keep: int) -> tuple[Tensor, Tensor]:
    """The `keep` largest values of `[B, W, N]` and their places in `[B, W·N]`, largest first `[B, keep]`.

    Ties go to the lower place: the better beam, then the earlier candidate.
    """
    missing = max(0, keep - total.shape[1])
    total = total.flatten(1)
    if missing:  # one beam may have fewer candidates than are kept: places past the end, of value −∞
        total = functional.pad(total, (0, missing), value=-torch.inf)
    if torch.compiler.is_exporting():
        # ONNX prescribes that TopK breaks ties by the lower index; torch.topk promises nothing.
        value, place = torch.topk(total, keep)
        return value, place
    value, place = torch.sort(total, dim=1, descending=True, stable=True)
    return value[:, :keep], place[:, :keep]


def _best_path(page: Tensor, taken: list[_Taken]) -> tuple[Tensor, Tensor, Tensor]:
    """The path that ends in the first beam: candidates `[B, K]`, evidence `[B, K, Q]`, score `[B]`."""
    choices, evidence = [], []
    beam = torch.zeros_like(page)  # [B, 1]
    for slot in reversed(taken):
        choices.append(slot.choice.gather(1, beam))
        evidence.append(rows(slot.evidence.flatten(0, 1), page * slot.parent.shape[1] + beam))
        beam = slot.parent.gather(1, beam)
    # g never falls from slot to slot, and is −∞ after the end: its largest value is that of the whole page.
    g = torch.cat([slot.g[:, :1] for slot in taken], 1).amax(1).clamp(min=0)
    return torch.cat(choices[::-1], 1), torch.cat(evidence[::-1], 1), 1 - torch.exp(-g)


def decide(
    graph: PageGraph,
    encoded: EncodedPages,
    candidates: NDArray[np.int64],
    slots: NDArray[np.int64] | None = None,
    batch: int = 64,
) -> Decision:
    """Run `graph` eagerly over P encoded pages with candidates `[P, N]`, module indexes padded with -1.

    `slots` `[P]` (default: all) limits the length of each page. `batch` pages at a time: what they hold between layers
    should fit the processor's cache. Raises ConfigError for an unknown module index.
    """
    P, K = len(candidates), graph.slots
    known = len(graph.family_of_module)
    if candidates.size and (candidates.max() >= known or candidates.min() < -1):
        raise ConfigError(f"Candidates must be module indexes below {known}, or -1; found {candidates.max()}.")
    if candidates.shape[1] == 0:
        candidates = np.full((P, 1), -1)
    result = Decision.empty(P, K)
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
            result.put(rows, offered, chosen, probabilities, score)
    return result
