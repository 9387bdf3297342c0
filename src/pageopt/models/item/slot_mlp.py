"""What stands above, to the MLP: nothing. A slot knows the page and its own number (pointwise, paper section 7.2).

    o_s = tanh(W_2 · relu(W_1 · [h_x ; emb(s)] + b_1) + b_2)

The hidden layer is as wide as gives it the number of weights that an LSTM over families of the same width has, so that
TRNN and MLP differ in what they know, not in size.

Shapes:
    B pages   K slots   H width   E size of an embedding   G hidden width
"""

import torch
from torch import Tensor, nn

from pageopt.models.item.above import Above, Chosen, Offered, Product, State, Steps
from pageopt.models.item.network_config import NetworkConfig


class SlotMlp(Above):
    """The MLP over the page and the embedding of the slot."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        H, E = config.width, config.embedding
        weights_of_lstm = 4 * H * (E + H + 2) + (config.families + 1) * E
        G = max(1, round((weights_of_lstm - config.slots * E - H) / (H + E + 1 + H)))
        self.slot = nn.Embedding(config.slots, E)
        self.first = nn.Linear(H + E, G)
        self.second = nn.Linear(G, H)

    def forward(self, h_x: Tensor, module: Tensor, family: Tensor, h_m: Tensor, *, hidden: bool) -> Tensor:
        """o `[B, K, H]`; see `Above.forward`."""
        B, K = module.shape
        slot = self.slot.weight[:K].expand(B, -1, -1)
        inner = torch.relu(self.first(torch.cat([h_x.unsqueeze(1).expand(-1, K, -1), slot], 2)))
        return torch.tanh(self.second(inner))

    def steps(self, from_output: Tensor, h_m: Tensor, *, hidden: bool) -> Steps:
        """The outputs of all slots at once; see `Above.steps`."""
        return SlotMlpSteps(self, from_output)

    def products(self, batch: int, slots: int, modules: int, *, hidden: bool) -> list[Product]:
        """Both layers, a row a slot."""
        return [(batch * slots, layer.in_features, layer.out_features) for layer in (self.first, self.second)]


class SlotMlpSteps(Steps):
    """W_1 meets the page once and the slot when this is made. State: u of all slots `[B, 1, K, H]`."""

    of_slot: Tensor
    from_page: Tensor
    second: Tensor
    second_bias: Tensor
    output: Tensor

    def __init__(self, above: SlotMlp, from_output: Tensor):
        super().__init__()
        first, second = above.first, above.second
        H = from_output.shape[0]
        with torch.no_grad():
            self.register_buffer("of_slot", above.slot.weight @ first.weight[:, H:].T + first.bias)  # [K, G]
            self.register_buffer("from_page", first.weight[:, :H].T.contiguous())  # [H, G]
            self.register_buffer("second", second.weight.T.contiguous())  # [G, H]
            self.register_buffer("second_bias", second.bias.clone())
            self.register_buffer("output", from_output.T.contiguous())  # W_oᵀ [H, H]

    def start(self, h_x: Tensor, offered: Offered) -> State:
        """u of every slot."""
        inner = torch.relu((h_x @ self.from_page).unsqueeze(1) + self.of_slot)  # [B, K, G]
        return ((torch.tanh(inner @ self.second + self.second_bias) @ self.output).unsqueeze(1),)

    def look(self, state: State, offered: Offered, slot: int) -> tuple[Tensor, State]:
        """The same for all beams and candidates."""
        return state[0][:, :, slot - 1 : slot], state

    def go_on(self, looked: State, chosen: Chosen, slot: int) -> State:
        """Nothing was seen."""
        return looked
