"""Fuse by a weighted sum: one learned weight a part."""

import torch
from torch import Tensor, nn


class Weighted(nn.Module):
    """`Σ softmax(w)_m z_m` over the present parts: for parts of unequal quality that is the same in all samples."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(parts))

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) with `present` (batch, parts) to (batch, width)."""
        shares = self.weight.softmax(0).expand(present.shape).masked_fill(~present, 0)
        total = shares.sum(1, keepdim=True).masked_fill(~present.any(1, keepdim=True), 1)
        return torch.einsum("bp,bpw->bw", shares / total, embeddings)
