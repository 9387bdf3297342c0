"""What stands above, to TRNN: an LSTM over the families of the page, from h_x (paper section 5.1, first stage).

Shapes:
    B pages   K slots   N candidates   W beams   F families   H width   E size of an embedding
    S families a step looks at: F, and the unknown one where what stands above is hidden

The LSTM starts from (h_x, 0). At slot s, for every family f, (h^f, c^f) = LSTMCell(emb(f), state); the state that goes
on is the one of the chosen module's family, or where modules are hidden that of an unknown family. A module gets

    o = h^f + h_x

of its family f. The second summand is our addition: without it the page reaches a low slot only through the gates of
all above. In training one fused pass serves all slots; the search takes the step of all families at once.
"""

import torch
from torch import Tensor, nn

from pageopt.models.item.above import Above, Chosen, Offered, Product, State, Steps, rows
from pageopt.models.item.network_config import NetworkConfig


class FamilyLstm(Above):
    """The LSTM with the embeddings of families it reads; row F is "a module of which we do not know the family"."""

    def __init__(self, config: NetworkConfig):
        super().__init__()
        H, E = config.width, config.embedding
        self.family = nn.Embedding(config.families + 1, E)
        self.lstm = nn.LSTM(E, H, batch_first=True)
        with torch.no_grad():
            # A forget gate that begins open: what was shown at the top still matters at the bottom.
            self.lstm.all_weights[0][3][H : 2 * H] += 1

    def forward(self, h_x: Tensor, module: Tensor, family: Tensor, h_m: Tensor, *, hidden: bool) -> Tensor:
        """o `[B, K, H]`; see `Above.forward`."""
        return h_x.unsqueeze(1) + (self._hidden(h_x, family) if hidden else self._chosen(h_x, family))

    def _chosen(self, h_x: Tensor, family: Tensor) -> Tensor:
        """The state going on with the families of the page itself."""
        start = (h_x.unsqueeze(0), torch.zeros_like(h_x).unsqueeze(0))
        return self.lstm(self.family(family), start)[0]

    def _hidden(self, h_x: Tensor, family: Tensor) -> Tensor:
        """The state going on with the unknown family, whatever the page holds."""
        B, K = family.shape
        unknown = self.family.weight[-1].expand(B, -1)
        states = [(h_x, torch.zeros_like(h_x))]
        for _ in range(K - 1):
            states.append(self._cell(unknown, states[-1]))
        h, c = (torch.stack(parts, 1).flatten(0, 1) for parts in zip(*states, strict=True))  # [B·K, H]
        return self._cell(self.family(family.flatten()), (h, c))[0].unflatten(0, (B, K))

    def _cell(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        return torch.lstm_cell(x, state, *self.lstm.all_weights[0])

    def steps(self, from_output: Tensor, h_m: Tensor, *, hidden: bool) -> Steps:
        """All families a step; see `Above.steps`."""
        return FamilyLstmSteps(self, from_output, hidden)

    def products(self, batch: int, slots: int, modules: int, *, hidden: bool) -> list[Product]:
        """Inputs of all slots at once, state slot by slot; where hidden, the unknown family's steps come before."""
        E, H = self.lstm.input_size, self.lstm.hidden_size
        if hidden:
            unknown = [(batch, E, 4 * H), (batch, H, 4 * H)] * (slots - 1)
            return [*unknown, (batch * slots, E, 4 * H), (batch * slots, H, 4 * H)]
        return [(batch * slots, E, 4 * H), *[(batch, H, 4 * H)] * slots]


class FamilyLstmSteps(Steps):
    """W_ih · emb(f) of all families is computed when this is made, the step and W_o · o once a family and beam.

    State: h and c `[B, W, H]`, and the page's part of u, W_o · h_x `[B, 1, H]`; looked at: h and c of every family
    `[B, W, S, H]`, and the page's part.
    """

    gates_of_family: Tensor
    recurrent: Tensor
    output: Tensor

    def __init__(self, above: FamilyLstm, from_output: Tensor, hidden: bool):
        super().__init__()
        self.hidden = hidden
        self.families = above.family.num_embeddings - 1
        w_ih, w_hh, b_ih, b_hh = (value.detach() for value in above.lstm.all_weights[0])
        seen = above.family.weight.detach()[: self.families + int(self.hidden)]
        self.register_buffer("gates_of_family", seen @ w_ih.T + b_ih + b_hh)  # [S, 4H]
        self.register_buffer("recurrent", w_hh.T.contiguous())  # [H, 4H]
        self.register_buffer("output", from_output.detach().T.contiguous())  # W_oᵀ [H, H]

    def start(self, h_x: Tensor, offered: Offered) -> State:
        """(h_x, 0), and the page's part."""
        h = h_x.unsqueeze(1)
        return h, torch.zeros_like(h), h @ self.output

    def look(self, state: State, offered: Offered, slot: int) -> tuple[Tensor, State]:
        """Each candidate meets the output of its family."""
        h, c, of_page = state
        W = h.shape[1]
        gates = (h @ self.recurrent).unsqueeze(2) + self.gates_of_family
        i, f, u, o = gates.chunk(4, -1)
        c_all = torch.sigmoid(f) * c.unsqueeze(2) + torch.sigmoid(i) * torch.tanh(u)
        h_all = torch.sigmoid(o) * torch.tanh(c_all)  # [B, W, S, H]
        output = h_all[:, :, : self.families] @ self.output + of_page.unsqueeze(2)  # W_o · o  [B, W, F, H]
        beam = offered.page * W + torch.arange(W)  # [B, W] rows of [B·W]
        row = beam.unsqueeze(-1) * self.families + offered.family  # [B, W, N] rows of [B·W·F]
        return rows(output.flatten(0, 2), row), (h_all, c_all, of_page)

    def go_on(self, looked: State, chosen: Chosen, slot: int) -> State:
        """The state of the chosen family."""
        h_all, c_all, of_page = looked
        state = chosen.beam * h_all.shape[2] + (self.families if self.hidden else chosen.family)
        return rows(h_all.flatten(0, 2), state), rows(c_all.flatten(0, 2), state), of_page
