"""Raw fields of anything (pages, modules) as one vector each.

Shapes: B rows, C categoricals, D numerics, X texts, T tokens a text, E size of an embedding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class FieldEncoder(nn.Module):
    """Categorical, numeric and text fields of B rows, side by side: `[B, size]`.

    All categoricals share one table, each with its own range of rows. A text is the mean of its tokens' embeddings,
    from a table `words` that encoders may share.
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
