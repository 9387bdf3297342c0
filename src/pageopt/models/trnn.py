"""TRNN, the two-stage page model (paper section 5.1), from raw tensors to three probabilities a module.

Shapes:
    B pages   K slots   M modules   F families   H width   E size of an embedding
    C page categoricals   D page numerics   X page texts   T tokens a text      (Cm, Dm, Xm: the module's)
    Q heads: click, intent, purchase

A page is read top to bottom. The page encoder gives h_x [B, H], from which an LSTM starts as (h_x, 0). At each slot it
takes the family of a module; its output o, which knows the context, all families above and the depth, meets the module
embedding h_m in a small network:

    evidence = heads(relu(u + v)) + fit,   u = W_o · o,   v = W_m · h_m + b,   fit_q = (A_q · h_x + a)ᵀ (B_q · h_m + b)

u + v is the first layer W · [o ; h_m] of the paper's network, factorised: u is computed once a family, v once a model.
Two things are our addition. `fit` [B, M, Q] is a direct product of context and module: whether the two belong together
is learned from it with far fewer pages than from sums that pass through the LSTM. And intent and purchase are chained
to the click, since neither happens without one (the entire-space model of Ma et al. 2018):

    P(purchase) = P(click) · P(purchase | click) = σ(evidence_click) · σ(evidence_purchase)

so that the rare heads learn only what clicks do not tell. In training the shown page is known and one fused LSTM pass
serves all slots; the search (pageopt.search.graph) takes the same weights step by step.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from pageopt.config import TrainParams
from pageopt.errors import TrainingError

if TYPE_CHECKING:
    from pageopt.features.encoder import Encoder

HEADS = ("click", "intent", "purchase")
# Which head a loss trains: the attributed purchase is a softer label of the same question.
HEAD_OF_LOSS = {"click": 0, "intent": 1, "purchase": 2, "attributed": 2}
# Where a head has no label to learn from, its logit stays here, and its probability reads as 0.
UNTRAINED_LOGIT = -30.0
# Where every click was also bought, the chance of it given a click starts here, not at infinite evidence.
MOST_GIVEN_CLICK = 0.99

History = Literal["chosen", "hidden"]


@dataclass(frozen=True)
class TrnnConfig:
    """Sizes of a model, all that is needed to build it and load its weights.

    `history` says what the state that goes on to the next slot has seen: "chosen", the families of the modules above;
    "hidden", only how many there were (for logs of single slots, and to measure what the history is worth).
    `losses` are those that the model was trained with; heads of others answer 0. `dropout` is the share of page
    numerics dropped in training.
    """

    cardinalities: tuple[int, ...]
    numerics: int
    texts: int
    vocabulary: int
    module_cardinalities: tuple[int, ...]
    module_numerics: int
    module_texts: int
    title_tokens: int
    modules: int
    families: int
    slots: int
    width: int
    embedding: int
    history: History
    losses: tuple[str, ...]
    dropout: float

    @property
    def chained(self) -> bool:
        """Whether intent and purchase are learned given a click; without click labels each head stands alone."""
        return "click" in self.losses

    @property
    def trained_heads(self) -> tuple[str, ...]:
        """The heads that learned from some label."""
        return tuple(head for q, head in enumerate(HEADS) if q in {HEAD_OF_LOSS[loss] for loss in self.losses})


@dataclass(frozen=True)
class ModuleTable:
    """Features of each module: family `[M]`, categorical `[M, Cm]`, numeric `[M, Dm]`, tokens `[M, Xm, T]`."""

    family: NDArray[np.int64]
    categorical: NDArray[np.int64]
    numeric: NDArray[np.float32]
    tokens: NDArray[np.int64]


class FieldEncoder(nn.Module):
    """Categorical, numeric and text fields of B rows, side by side: `[B, size]`.

    All categoricals share one table, each with its own range of rows. A text is the mean of its tokens' embeddings,
    from a table `words` that pages and modules share.
    """

    starts: Tensor

    def __init__(self, cardinalities: Sequence[int], numerics: int, texts: int, embedding: int):
        super().__init__()
        self.values = nn.Embedding(max(sum(cardinalities), 1), embedding)
        starts = [sum(cardinalities[:field]) for field in range(len(cardinalities))]
        self.register_buffer("starts", torch.tensor(starts, dtype=torch.int64), persistent=False)
        self.size = (len(cardinalities) + texts) * embedding + numerics

    def forward(self, categorical: Tensor, numeric: Tensor, tokens: Tensor, words: nn.Embedding) -> Tensor:
        """Of categorical `[B, C]`, numeric `[B, D]`, tokens `[B, X, T]` with 0 as padding."""
        parts = [numeric]
        if self.starts.shape[0]:
            parts.append(self.values(categorical + self.starts).flatten(1))  # [B, C·E]
        if tokens.shape[1]:
            present = (tokens != 0).to(numeric.dtype).unsqueeze(-1)  # [B, X, T, 1]
            total = (words(tokens) * present).sum(2)
            parts.append((total / present.sum(2).clamp(min=1)).flatten(1))  # [B, X·E]
        return torch.cat(parts, 1)


class Trnn(nn.Module):
    """The page model. Raises TrainingError where the table of modules does not fit the configuration."""

    family_of: Tensor
    module_categorical: Tensor
    module_numeric: Tensor
    module_tokens: Tensor

    def __init__(self, config: TrnnConfig, modules: ModuleTable):
        super().__init__()
        _check(config, modules)
        self.config = config
        H, E = config.width, config.embedding
        # The modules' raw features belong to the model: without them its weights say nothing.
        self.register_buffer("family_of", torch.as_tensor(modules.family))  # [M]
        self.register_buffer("module_categorical", torch.as_tensor(modules.categorical))
        self.register_buffer("module_numeric", torch.as_tensor(modules.numeric))
        self.register_buffer("module_tokens", torch.as_tensor(modules.tokens))

        self.words = nn.Embedding(config.vocabulary, E, padding_idx=0)
        # Page encoder: h_x. Most counters of most users are noise about them; a dropped one reads as its mean.
        self.drop_numeric = nn.Dropout(config.dropout)
        self.page_fields = FieldEncoder(config.cardinalities, config.numerics, config.texts, E)
        self.page_layers = nn.Sequential(
            nn.Linear(self.page_fields.size, 2 * H), nn.ReLU(), nn.Linear(2 * H, H), nn.Tanh()
        )
        # Module network: h_m
        self.module_id = nn.Embedding(config.modules, E)
        self.module_fields = FieldEncoder(config.module_cardinalities, config.module_numerics, config.module_texts, E)
        self.module_layers = nn.Sequential(nn.Linear(self.module_fields.size + E, H), nn.ReLU(), nn.Linear(H, H))
        # First stage; row F is "a module of which we do not know the family"
        self.family = nn.Embedding(config.families + 1, E)
        self.lstm = nn.LSTM(E, H, batch_first=True)
        # Second stage
        self.from_output = nn.Linear(H, H, bias=False)  # W_o: u
        self.from_module = nn.Linear(H, H)  # W_m, b: v
        self.heads = nn.Linear(H, len(HEADS))
        # The fit of context and module
        self.fit_of_page = nn.Linear(H, len(HEADS) * E)
        self.fit_of_module = nn.Linear(H, len(HEADS) * E)
        with torch.no_grad():
            # A forget gate that begins open: what was shown at the top still matters at the bottom.
            self.lstm.all_weights[0][3][H : 2 * H] += 1

    @classmethod
    def from_encoder(
        cls, encoder: "Encoder", params: TrainParams, history: History, losses: Sequence[str] | None = None
    ) -> Self:
        """A fresh model for the fields and modules of `encoder`, to train on `losses` (default: those of `params`)."""
        modules = ModuleTable(
            encoder.module_family, encoder.module_categorical, encoder.module_numeric, encoder.module_tokens
        )
        kinds = [field.kind for field in encoder.page_fields]
        config = TrnnConfig(
            cardinalities=tuple(encoder.cardinalities),
            numerics=kinds.count("numeric"),
            texts=kinds.count("text"),
            vocabulary=encoder.vocabulary_size,
            module_cardinalities=tuple(encoder.module_cardinalities),
            module_numerics=modules.numeric.shape[1],
            module_texts=modules.tokens.shape[1],
            title_tokens=encoder.title_tokens,
            modules=len(encoder.module_ids),
            families=len(encoder.families),
            slots=encoder.slots,
            width=params.width,
            embedding=params.embedding,
            history=history,
            losses=tuple(params.losses if losses is None else losses),
            dropout=params.dropout,
        )
        return cls(config, modules)

    def start_from(self, rates: Mapping[str, float]) -> None:
        """Let each head begin at the mean label of its loss, `rates`; heads without one answer 0, now and later."""
        with torch.no_grad():
            rate_of = {HEAD_OF_LOSS[loss]: rate for loss, rate in rates.items()}
            for q in range(len(HEADS)):
                if q in rate_of:
                    given_click = self.config.chained and q > 0
                    rate = min(rate_of[q] / rate_of[0], MOST_GIVEN_CLICK) if given_click else rate_of[q]
                    self.heads.bias[q] = float(np.log(rate) - np.log1p(-rate))
                else:
                    self.heads.weight[q] = 0
                    self.heads.bias[q] = UNTRAINED_LOGIT
                    fits = slice(q * self.config.embedding, (q + 1) * self.config.embedding)
                    self.fit_of_page.weight[fits] = 0
                    self.fit_of_page.bias[fits] = 0

    def encode_page(self, categorical: Tensor, numeric: Tensor, tokens: Tensor) -> Tensor:
        """h_x `[B, H]` of categorical `[B, C]`, numeric `[B, D]`, tokens `[B, X, T]`."""
        return self.page_layers(self.page_fields(categorical, numeric, tokens, self.words))

    def module_parts(self) -> tuple[Tensor, Tensor]:
        """v `[M, H]` and the module side of the fit `[M, Q·E]` of every module: the same for all pages."""
        features = self.module_fields(self.module_categorical, self.module_numeric, self.module_tokens, self.words)
        h_m = self.module_layers(torch.cat([self.module_id.weight, features], 1))
        return self.from_module(h_m), self.fit_of_module(h_m)

    def forward(self, categorical: Tensor, numeric: Tensor, tokens: Tensor, module: Tensor) -> Tensor:
        """Logits `[B, K, Q]` of the modules shown, `module` `[B, K]`, each given those above it; -1 is an empty slot.

        K may be smaller than the configured number of slots. Logits of empty slots mean nothing.
        """
        family = torch.where(module >= 0, self.family_of[module.clamp(min=0)], self.config.families)  # [B, K]
        h_x = self.encode_page(categorical, self.drop_numeric(numeric), tokens)
        o = self._outputs_chosen(h_x, family) if self.config.history == "chosen" else self._outputs_hidden(h_x, family)
        v, fits = (functional.embedding(module.clamp(min=0), part) for part in self.module_parts())  # [B, K, …]
        fit = fit_of(self.fit_of_page(h_x).unsqueeze(1), fits)
        evidence = self.heads(torch.relu(self.from_output(o) + v)) + fit
        return chain(evidence) if self.config.chained else evidence

    def _outputs_chosen(self, h_x: Tensor, family: Tensor) -> Tensor:
        """o `[B, K, H]`, the state going on with the families of the page itself."""
        start = (h_x.unsqueeze(0), torch.zeros_like(h_x).unsqueeze(0))
        return self.lstm(self.family(family), start)[0]

    def _outputs_hidden(self, h_x: Tensor, family: Tensor) -> Tensor:
        """o `[B, K, H]`, the state going on with the unknown family, whatever the page holds."""
        B, K = family.shape
        unknown = self.family.weight[-1].expand(B, -1)
        states = [(h_x, torch.zeros_like(h_x))]
        for _ in range(K - 1):
            states.append(self._cell(unknown, states[-1]))
        h, c = (torch.stack(parts, 1).flatten(0, 1) for parts in zip(*states, strict=True))  # [B·K, H]
        return self._cell(self.family(family.flatten()), (h, c))[0].unflatten(0, (B, K))

    def _cell(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.lstm_cell(x, state, *self.lstm.all_weights[0])

    def save(self, folder: Path) -> None:
        """Write model.safetensors and model.json; the same model gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / "model.safetensors")
        (folder / "model.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")


def fit_of(page: Tensor, module: Tensor) -> Tensor:
    """How well pages and modules belong together, `[B, J, Q]`, of their sides `[B, 1, Q·E]` and `[B, J, Q·E]`."""
    return (page * module).unflatten(-1, (len(HEADS), -1)).sum(-1)


def chain(evidence: Tensor) -> Tensor:
    """Logits of click, intent and purchase `[…, Q]` of evidence `[…, Q]`: that of the click, and of both given one.

    The logit of σ(a)·σ(b) is −log(e^−a + e^−b + e^(−a−b)), which keeps the digits of small probabilities.
    """
    a, b = evidence[..., :1], evidence[..., 1:]
    least = torch.minimum(torch.minimum(a, b), a + b)
    total = torch.exp(least - a) + torch.exp(least - b) + torch.exp(least - a - b)
    return torch.cat([a, least - torch.log(total)], -1)


_CONFIG = TypeAdapter(TrnnConfig)


def load_trnn(folder: Path) -> Trnn:
    """The model of a folder written by `Trnn.save`, ready to predict. Raises TrainingError where it cannot be read."""
    try:
        config = _CONFIG.validate_json((folder / "model.json").read_bytes())
        values = load_file(folder / "model.safetensors")
    except (OSError, ValueError, SafetensorError) as error:
        raise TrainingError(f"{folder} holds no model that can be read ({error}). Train it: dvc repro train") from None
    table = ModuleTable(
        values["family_of"].numpy(),
        values["module_categorical"].numpy(),
        values["module_numeric"].numpy(),
        values["module_tokens"].numpy(),
    )
    model = Trnn(config, table)
    model.load_state_dict(values)
    return model.eval()


def _check(config: TrnnConfig, modules: ModuleTable) -> None:
    M = config.modules
    expected = {
        "family": (M,),
        "categorical": (M, len(config.module_cardinalities)),
        "numeric": (M, config.module_numerics),
        "tokens": (M, config.module_texts, config.title_tokens),
    }
    for name, shape in expected.items():
        if getattr(modules, name).shape != shape:
            raise TrainingError(f"Table of modules: {name} is {getattr(modules, name).shape}; the model needs {shape}.")
    if M and (modules.family.min() < 0 or modules.family.max() >= config.families):
        raise TrainingError(f"Table of modules: family must lie in 0 … {config.families - 1}.")
