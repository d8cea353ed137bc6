"""Fuse by the mean over the parts that are present."""

from torch import Tensor, nn


class Mean(nn.Module):
    """The mean over the present parts: no parameters, and the same scale however many are missing."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) to (batch, width)."""
        return embeddings.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
