"""Fuse by attention: each sample weighs its own parts."""

import torch
from torch import Tensor, nn

HEADS = 4


class Attention(nn.Module):
    """A learned query attends to the present parts and to itself, then one hidden layer.

    As the query attends to itself, the weights sum to 1 even where no part is present.
    """

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        self.heads = next(heads for heads in range(HEADS, 0, -1) if width % heads == 0)
        self.query = nn.Parameter(0.02 * torch.randn(width))
        self.kinds = nn.Parameter(0.02 * torch.randn(parts, width))
        self.norm = nn.LayerNorm(width)
        self.key = nn.Linear(width, width, bias=False)  # a bias would shift all scores alike, which softmax undoes
        self.value = nn.Linear(width, width)
        self.layers = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) with `present` (batch, parts) to (batch, width)."""
        batch, _, width = embeddings.shape
        query = self.query.expand(batch, 1, width)
        tokens = self.norm(torch.cat([query, embeddings + self.kinds], dim=1))
        absent = torch.cat([present.new_zeros(batch, 1), ~present], dim=1)
        split = (batch, tokens.shape[1], self.heads, width // self.heads)
        keys, values = self.key(tokens).reshape(split), self.value(tokens).reshape(split)
        scores = torch.einsum("hc,bthc->bth", self.query.reshape(split[2:]), keys) * split[3] ** -0.5
        # Written out: with four tokens a fused kernel gains nothing, and this is deterministic on every device.
        weights = scores.masked_fill(absent.unsqueeze(2), float("-inf")).softmax(1)
        fused: Tensor = self.query + (weights.unsqueeze(3) * values).sum(1).flatten(1)
        fused = fused + self.layers(fused)
        return fused
