"""What stands above, to the transformer: causal attention over the modules (what the paper's section 9 plans).

One layer, as a transformer's: attention of each slot over what stands above it, then the small network that all page
networks share, with the candidate as its residual input. Tokens are the page, from h_x, and the modules above, from h_m
and their slots:

    q_s = W_q · h_m + W_x · h_x + emb_q(s)          of the candidate for slot s
    (k_j, v_j) = W_kv · h_m + emb_kv(j)             of the module in slot j < s;  W_page · h_x of the page itself
    o_s = h_x + emb_o(s) + Σ_j softmax_j(q_s · k_j / √d) · v_j,  by heads of d numbers

The candidate itself asks, so what one module does to another is learned from their contents, where TRNN knows the
families. The page's token is what is looked at where no module above matters. Keys and values of a module are the same
on every page: the search looks them up, keeps those of each beam, and adds one a slot.

Shapes:
    B pages   K slots   N candidates   W beams   M modules   H width   A heads   d = H/A   J tokens looked at
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from pageopt.errors import TrainingError
from pageopt.models.item.above import Above, Chosen, Offered, Product, State, Steps, rows
from pageopt.models.item.network_config import NetworkConfig

ATTENTION_HEADS = 4


class ModuleAttention(Above):
    """Queries, keys and values of page, modules and slots. Raises TrainingError where heads do not divide the width."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        H, K = config.width, config.slots
        if H % ATTENTION_HEADS:
            raise TrainingError(
                f"train.width = {H} cannot be shared by the transformer's {ATTENTION_HEADS} attention heads. "
                f"Make it a multiple of {ATTENTION_HEADS}."
            )
        self.of_module = nn.Linear(H, 3 * H)  # query, key, value
        self.of_page = nn.Linear(H, 3 * H)
        self.of_slot = nn.Embedding(K, 3 * H)
        self.slot = nn.Embedding(K, H)
        with torch.no_grad():
            self.of_slot.weight *= 0.1
            self.slot.weight *= 0.1

    def forward(self, h_x: Tensor, module: Tensor, family: Tensor, h_m: Tensor, *, hidden: bool) -> Tensor:
        """o `[B, K, H]`; see `Above.forward`."""
        K = module.shape[1]
        page = self.of_page(h_x).unsqueeze(1)  # [B, 1, 3H]
        shown = functional.embedding(module.clamp(min=0), self.of_module(h_m)) + self.of_slot.weight[:K]  # [B, K, 3H]
        H = h_x.shape[1]
        query = shown[..., :H] + page[..., :H]
        J = 1 if hidden else K
        above = torch.cat([page[..., H:], shown[:, : J - 1, H:]], 1)  # [B, J, 2H]
        key, value = above.chunk(2, -1)
        causal = torch.ones(K, J, dtype=torch.bool).tril()
        filled = functional.pad(module[:, : J - 1] >= 0, (1, 0), value=True)  # [B, J]
        attended = functional.scaled_dot_product_attention(
            _by_head(query), _by_head(key), _by_head(value), attn_mask=causal & filled[:, None, None]
        )  # [B, A, K, d]
        return h_x.unsqueeze(1) + self.slot.weight[:K] + attended.transpose(1, 2).flatten(2)

    def steps(self, from_output: Tensor, h_m: Tensor, *, hidden: bool) -> Steps:
        """A cache of keys and values a beam; see `Above.steps`."""
        return ModuleAttentionSteps(self, from_output, h_m, hidden)

    def products(self, batch: int, slots: int, modules: int, *, hidden: bool) -> list[Product]:
        """Projections, and the products of queries with keys and of weights with values, page by page and head."""
        H = self.slot.embedding_dim
        d = H // ATTENTION_HEADS
        tokens = 1 if hidden else slots
        pairs = [(batch * ATTENTION_HEADS * slots, d, tokens), (batch * ATTENTION_HEADS * slots, tokens, d)]
        return [(batch, H, 3 * H), (modules, H, 3 * H), *pairs]


class ModuleAttentionSteps(Steps):
    """W_o is folded into the values, a block of H numbers a head, so that only weights are taken of values.

    State: keys `[B, W, J, H]` and folded values `[B, W, J, A·H]` of the tokens that each beam sees, the candidates'
    part of the queries `[B, 1, A, N, d]`, the page's part of u `[B, 1, 1, H]`.
    """

    query_of_module: Tensor
    key_of_module: Tensor
    value_of_module: Tensor
    query_of_slot: Tensor
    key_of_slot: Tensor
    value_of_slot: Tensor
    page_weight: Tensor
    page_bias: Tensor
    output_of_slot: Tensor

    def __init__(self, above: ModuleAttention, from_output: Tensor, h_m: Tensor, hidden: bool):
        super().__init__()
        self.hidden = hidden
        A = ATTENTION_HEADS
        H = from_output.shape[0]
        with torch.no_grad():
            folded = _fold(from_output)  # [H, A·H]
            scale = (H // A) ** -0.5
            tables = {"module": above.of_module(h_m), "slot": above.of_slot.weight}
            for name, table in tables.items():
                query, key, value = table.chunk(3, -1)
                self.register_buffer(f"query_of_{name}", query * scale)  # [·, H]
                self.register_buffer(f"key_of_{name}", key.contiguous())  # [·, H]
                self.register_buffer(f"value_of_{name}", value @ folded)  # [·, A·H]
            # Of the page: query, key and value by heads, and the residual part of u, in one product.
            query, key, value = above.of_page.weight.chunk(3)
            query_bias, key_bias, value_bias = above.of_page.bias.chunk(3)
            parts = [query.T * scale, key.T, value.T @ folded, from_output.T]
            self.register_buffer("page_weight", torch.cat(parts, 1))  # [H, (3 + A)·H]
            bias = [query_bias * scale, key_bias, value_bias @ folded, torch.zeros(H)]
            self.register_buffer("page_bias", torch.cat(bias))
            self.register_buffer("output_of_slot", above.slot.weight @ from_output.T)  # [K, H]

    def start(self, h_x: Tensor, offered: Offered) -> State:
        """Queries of the candidates, the page's token, and its residual part of u."""
        A, H = ATTENTION_HEADS, h_x.shape[1]
        query, key, value, own = (h_x @ self.page_weight + self.page_bias).split([H, H, A * H, H], -1)
        asked = rows(self.query_of_module, offered.module) + query.unsqueeze(1)  # [B, N, H]
        return (
            key.reshape(-1, 1, 1, H),  # [B, W, J, H]
            value.reshape(-1, 1, 1, A * H),  # [B, W, J, A·H]
            _by_head(asked).unsqueeze(1),  # [B, 1, A, N, d]
            own.reshape(-1, 1, 1, H),
        )

    def look(self, state: State, offered: Offered, slot: int) -> tuple[Tensor, State]:
        """Each candidate attends to the page and the modules above."""
        keys, values, asked, own = state
        A, H = ATTENTION_HEADS, keys.shape[-1]
        d = H // A
        query = asked + self.query_of_slot[slot - 1].view(A, 1, d)
        key = keys.unflatten(-1, (A, d)).permute(0, 1, 3, 4, 2)  # [B, W, A, d, J]
        weight = torch.softmax(query @ key, -1)  # [B, W, A, N, J]
        value = values.unflatten(-1, (A, H)).transpose(2, 3).flatten(2, 3)  # [B, W, A·J, H]
        attended = weight.transpose(2, 3).flatten(3) @ value  # [B, W, N, H]
        return attended + (own + self.output_of_slot[slot - 1]), state

    def go_on(self, looked: State, chosen: Chosen, slot: int) -> State:
        """Each beam takes over the tokens of its parent and adds that of its new module."""
        keys, values, asked, own = looked
        if self.hidden:
            return looked
        return (
            _longer(keys, chosen.beam, rows(self.key_of_module, chosen.module) + self.key_of_slot[slot - 1]),
            _longer(values, chosen.beam, rows(self.value_of_module, chosen.module) + self.value_of_slot[slot - 1]),
            asked,
            own,
        )


def _by_head(vectors: Tensor) -> Tensor:
    """`[B, J, H]` → `[B, A, J, d]`."""
    return vectors.unflatten(-1, (ATTENTION_HEADS, -1)).transpose(1, 2)


def _fold(output: Tensor) -> Tensor:
    """W_o `[H, H]` as `[H, A·H]`: of a value, what each head alone adds to u."""
    H = output.shape[0]
    blocks = output.T.unflatten(0, (ATTENTION_HEADS, -1))  # [A, d, H]
    result = torch.zeros(ATTENTION_HEADS, H // ATTENTION_HEADS, ATTENTION_HEADS, H)
    for head, block in enumerate(blocks):
        result[head, :, head] = block
    return result.flatten(2).flatten(0, 1)


def _longer(tokens: Tensor, beam: Tensor, new: Tensor) -> Tensor:
    """Tokens `[B, W, J, ·]` of the parents in rows `beam` `[B, W']` of [B·W], and the `new` one `[B, W', ·]`."""
    J, size = tokens.shape[2:]
    kept = rows(tokens.flatten(0, 1).flatten(1), beam).unflatten(-1, (J, size))
    return torch.cat([kept, new.unsqueeze(2)], 2)
