"""Page networks: from raw tensors to three probabilities a module (paper section 5.1).

Shapes:
    B pages   K slots   M modules   F families   H width   E size of an embedding
    C page categoricals   D page numerics   X page texts   T tokens a text      (Cm, Dm, Xm: the module's)
    Q heads: click, intent, purchase

A page is read top to bottom. The page encoder gives h_x [B, H]. What stands *above* (pageopt.models.item.above), where
alone the architectures differ, starts from it and gives an output o for each slot, which knows the context, what was
chosen above and the depth. It meets the module embedding h_m in a small network:

    evidence = heads(relu(u + v + W_a · a)) + fit,   u = W_o · o,   v = W_m · h_m + b
    fit_q at slot s = (A_q · h_x + a + Σ_{j<s} G_q · h_{m_j})ᵀ (B_q · h_m + b)

u + v is the first layer W · [o ; h_m] of the paper's network, factorised: v is computed once a model. a [A] are those
of the page's numbers that are about this module, such as how the user has taken to its family before; h_x knows all of
them, but not which module it will meet. `fit` [B, M, Q]
is our addition, a direct product of what a module meets and the module. What it meets is the context, and, where they
may be seen, the modules above: whether a module belongs there, repeats what was shown or completes it, is learned from
products of contents with far fewer pages than from sums that pass through o. Our addition is also the chain of the
heads (pageopt.models.item.heads). In training the shown page is known and one pass serves all slots; the search
(pageopt.search.graph) takes the same weights step by step.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

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
from pageopt.models.common.field_encoder import FieldEncoder
from pageopt.models.common.learner import Learner, Ways
from pageopt.models.item.above import Above, Product
from pageopt.models.item.data import PageTensors
from pageopt.models.item.family_lstm import FamilyLstm
from pageopt.models.item.heads import HEAD_OF_LOSS, HEADS, MOST_GIVEN_CLICK, UNTRAINED_LOGIT, chain
from pageopt.models.item.module_attention import ModuleAttention
from pageopt.models.item.network_config import AboveMode, Architecture, NetworkConfig
from pageopt.models.item.slot_mlp import SlotMlp

if TYPE_CHECKING:
    from pageopt.features.encoder import Encoder

ARCHITECTURES: dict[Architecture, type[Above]] = {"trnn": FamilyLstm, "mlp": SlotMlp, "transformer": ModuleAttention}


@dataclass(frozen=True)
class ModuleTable:
    """Features of each module: family `[M]`, categorical `[M, Cm]`, numeric `[M, Dm]`, tokens `[M, Xm, T]`, and
    columns `[M, A]`, the page numerics that are about it, -1 where there is none.
    """

    family: NDArray[np.int64]
    categorical: NDArray[np.int64]
    numeric: NDArray[np.float32]
    tokens: NDArray[np.int64]
    columns: NDArray[np.int64]


class PageNetwork(Learner[PageTensors]):
    """A page model. Raises TrainingError where the table of modules does not fit the configuration."""

    config: NetworkConfig
    family_of: Tensor
    module_categorical: Tensor
    module_numeric: Tensor
    module_tokens: Tensor
    module_columns: Tensor

    def __init__(self, config: NetworkConfig, modules: ModuleTable):
        super().__init__()
        _check(config, modules)
        self.config = config
        H, E = config.width, config.embedding
        # The modules' raw features belong to the model: without them its weights say nothing.
        self.register_buffer("family_of", torch.as_tensor(modules.family))  # [M]
        self.register_buffer("module_categorical", torch.as_tensor(modules.categorical))
        self.register_buffer("module_numeric", torch.as_tensor(modules.numeric))
        self.register_buffer("module_tokens", torch.as_tensor(modules.tokens))
        self.register_buffer("module_columns", torch.as_tensor(modules.columns) + 1)  # [M, A], 0: none

        self.words = nn.Embedding(config.vocabulary, E, padding_idx=0)
        # Page encoder: h_x. Most counters of most users are noise about them; a dropped one reads as its mean.
        self.drop_counters = nn.Dropout(config.dropout)
        self.page_fields = FieldEncoder(config.cardinalities, config.numerics, config.texts, E)
        self.page_layers = nn.Sequential(
            nn.Linear(self.page_fields.size, 2 * H), nn.ReLU(), nn.Linear(2 * H, H), nn.Tanh()
        )
        # Module network: h_m
        self.module_id = nn.Embedding(config.modules, E)
        self.module_fields = FieldEncoder(config.module_cardinalities, config.module_numerics, config.module_texts, E)
        self.module_layers = nn.Sequential(nn.Linear(self.module_fields.size + E, H), nn.ReLU(), nn.Linear(H, H))
        # First stage: o
        self.above = ARCHITECTURES[config.architecture](config)
        # Second stage
        self.from_output = nn.Linear(H, H, bias=False)  # W_o: u
        self.from_module = nn.Linear(H, H)  # W_m, b: v
        self.heads = nn.Linear(H, len(HEADS))
        # What the page says about the module in a slot
        self.from_about = nn.Linear(config.about, H, bias=False) if config.about else None
        # The fit of context and module
        self.fit_of_page = nn.Linear(H, len(HEADS) * E)
        self.fit_of_module = nn.Linear(H, len(HEADS) * E)
        pairs = config.pairs and config.above == "chosen"
        self.fit_of_above = nn.Linear(H, len(HEADS) * E, bias=False) if pairs else None  # G
        if self.fit_of_above is not None:
            with torch.no_grad():
                self.fit_of_above.weight *= 0.1  # up to K of them are added to one page

    @classmethod
    def from_encoder(
        cls, encoder: "Encoder", params: TrainParams, above: AboveMode, losses: Sequence[str] | None = None
    ) -> Self:
        """A fresh model for the fields and modules of `encoder`, to train on `losses` (default: those of `params`)."""
        modules = ModuleTable(
            encoder.module_family,
            encoder.module_categorical,
            encoder.module_numeric,
            encoder.module_tokens,
            encoder.module_columns,
        )
        kinds = [field.kind for field in encoder.page_fields]
        of_numerics = [field.source for field in encoder.page_fields if field.kind == "numeric"]
        config = NetworkConfig(
            architecture=params.architecture,
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
            above=above,
            losses=tuple(params.losses if losses is None else losses),
            dropout=params.dropout,
            counters=of_numerics.count("counter"),  # they come last (pageopt.features.schema)
            about=modules.columns.shape[1],
            pairs=params.pairs,
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
                    self.fit_of_module.weight[fits] = 0
                    self.fit_of_module.bias[fits] = 0

    def encode_page(self, categorical: Tensor, numeric: Tensor, tokens: Tensor) -> Tensor:
        """h_x `[B, H]` of categorical `[B, C]`, numeric `[B, D]`, tokens `[B, X, T]`."""
        return self.page_layers(self.page_fields(categorical, numeric, tokens, self.words))

    def encode_modules(self) -> Tensor:
        """h_m `[M, H]` of every module: the same for all pages."""
        features = self.module_fields(self.module_categorical, self.module_numeric, self.module_tokens, self.words)
        return self.module_layers(torch.cat([self.module_id.weight, features], 1))

    def forward(
        self, categorical: Tensor, numeric: Tensor, tokens: Tensor, module: Tensor, *, hidden: bool = False
    ) -> Tensor:
        """Logits `[B, K, Q]` of the modules shown, `module` `[B, K]`, each given those above it; -1 is an empty slot.

        With `hidden`, and always where the configuration says so, those above stay unseen. K may be smaller than the
        configured number of slots. Logits of empty slots mean nothing.
        """
        hidden = hidden or self.config.above == "hidden"
        shown = module.clamp(min=0)
        family = torch.where(module >= 0, self.family_of[shown], self.config.families)  # [B, K]
        given, counted = numeric.tensor_split([self.config.numerics - self.config.counters], 1)
        h_x = self.encode_page(categorical, torch.cat([given, self.drop_counters(counted)], 1), tokens)
        h_m = self.encode_modules()
        o = self.above(h_x, module, family, h_m, hidden=hidden)
        v, fits = (functional.embedding(shown, part(h_m)) for part in (self.from_module, self.fit_of_module))
        met = self.fit_of_page(h_x).unsqueeze(1)  # [B, 1, Q·E]
        if self.fit_of_above is not None and not hidden:
            added = functional.embedding(shown, self.fit_of_above(h_m)) * (module >= 0).unsqueeze(-1)
            met = met + added.cumsum(1) - added  # [B, K, Q·E]: of the modules above each slot
        fit = fit_of(met, fits)
        inner = self.from_output(o) + v
        if self.from_about is not None:
            inner = inner + self.from_about(about(numeric, self.module_columns[shown]))
        evidence = self.heads(torch.relu(inner)) + fit
        return chain(evidence) if self.config.chained else evidence

    def ways(self, params: TrainParams) -> Ways:
        """As configured; where train.above = auto leaves the choice, a share of the steps does without those above.

        Where modules do not act on each other, seeing them costs quality: what is learned of them is noise, and the
        search picks the pages that noise makes look good. The choice is our addition to the paper.
        """
        if params.above == "auto" and self.config.above == "chosen":
            return Ways("chosen", "hidden", params.above_dropout)
        return Ways(self.config.above)

    def logits(self, pages: PageTensors, way: str | None = None) -> Mapping[str, Tensor]:
        """Logits `[B, K]` by loss; `way` is one of `AboveMode`."""
        logits = self(*pages.inputs(), hidden=way == "hidden").float()
        return {loss: logits[..., HEAD_OF_LOSS[loss]] for loss in pages.labels}

    def settle(self, way: str) -> None:
        """Be what sees the modules above, or what does not, with the weights it has for that."""
        if way == "hidden":
            self.config = replace(self.config, above="hidden")
            self.fit_of_above = None

    def products(self, batch: int, *, hidden: bool = False) -> list[Product]:
        """The matrix products of `forward` on `batch` full pages, for benchmarks."""
        config = self.config
        hidden = hidden or config.above == "hidden"
        H, E, K, M, Q = config.width, config.embedding, config.slots, config.modules, len(HEADS)
        shared = [(batch, self.page_fields.size, 2 * H), (batch, 2 * H, H)]  # page encoder
        shared += [(M, self.module_fields.size + E, H), (M, H, H), (M, H, H)]  # module network, W_m
        shared += [(batch * K, H, H), (batch * K, config.about, H), (batch * K, H, Q)]  # W_o, W_a, heads
        shared += [(batch, H, Q * E), *[(M, H, Q * E)] * (2 if config.pairs and not hidden else 1)]  # the fit
        return shared + self.above.products(batch, K, M, hidden=hidden)

    def save(self, folder: Path) -> None:
        """Write model.safetensors and model.json; the same model gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        save_file(self.state_dict(), folder / "model.safetensors")
        (folder / "model.json").write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")


def above_mode(params: TrainParams, *, single_slots: bool) -> AboveMode:
    """What the network of `params` may see of the modules above, on logs of whole pages or of single slots.

    Logs of single slots never show a module beside another, so nothing can be learned from those above. Raises
    TrainingError where an MLP without pairs is asked to see them.
    """
    if params.architecture == "mlp" and not params.pairs:
        if params.above == "chosen":
            raise TrainingError(
                "train.above = 'chosen', but the MLP (train.architecture = 'mlp') without train.pairs knows nothing of "
                "the modules above. Set train.above to auto, train.pairs to true, or choose trnn or transformer."
            )
        return "hidden"
    if params.above == "auto":
        return "hidden" if single_slots else "chosen"
    return params.above


def fit_of(page: Tensor, module: Tensor) -> Tensor:
    """How well modules go with what they meet, `[B, J, Q]`, of the sides `[B, 1 or J, Q·E]` and `[B, J, Q·E]`."""
    return (page * module).unflatten(-1, (len(HEADS), -1)).sum(-1)


def about(numeric: Tensor, columns: Tensor) -> Tensor:
    """Page numerics `[B, D]` at `columns` `[B, J, A]`, counted from 1: `[B, J, A]`, 0 at column 0."""
    padded = functional.pad(numeric, (1, 0))
    return padded.gather(1, columns.flatten(1)).unflatten(1, columns.shape[1:])


_CONFIG = TypeAdapter(NetworkConfig)


def load_network(folder: Path) -> PageNetwork:
    """The model that `PageNetwork.save` wrote, ready to predict. Raises TrainingError where it cannot be read."""
    try:
        config = _CONFIG.validate_json((folder / "model.json").read_bytes())
        values = load_file(folder / "model.safetensors")
        table = ModuleTable(
            values["family_of"].numpy(),
            values["module_categorical"].numpy(),
            values["module_numeric"].numpy(),
            values["module_tokens"].numpy(),
            values["module_columns"].numpy() - 1,
        )
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise TrainingError(f"{folder} holds no model that can be read ({error}). Train it: dvc repro train") from None
    model = PageNetwork(config, table)
    model.load_state_dict(values)
    return model.eval()


def _check(config: NetworkConfig, modules: ModuleTable) -> None:
    M = config.modules
    expected = {
        "family": (M,),
        "categorical": (M, len(config.module_cardinalities)),
        "numeric": (M, config.module_numerics),
        "tokens": (M, config.module_texts, config.title_tokens),
        "columns": (M, config.about),
    }
    for name, shape in expected.items():
        if getattr(modules, name).shape != shape:
            raise TrainingError(f"Table of modules: {name} is {getattr(modules, name).shape}; the model needs {shape}.")
    if M and (modules.family.min() < 0 or modules.family.max() >= config.families):
        raise TrainingError(f"Table of modules: family must lie in 0 … {config.families - 1}.")
