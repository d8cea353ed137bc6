"""Fuse the evidence of the parts: each has a linear map of its own, and these are added."""

import torch
from torch import Tensor, nn


class LateLogits(nn.Module):
    """`Σ W_m z_m`. With a linear head the outputs are the sum of outputs a part, to which nothing else contributes:
    a part that is missing adds none."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(parts, width, width).uniform_(-1, 1) / width**0.5)

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) to (batch, width)."""
        return torch.einsum("bpw,pwo->bo", embeddings, self.weight)
