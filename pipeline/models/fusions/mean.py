"""Fuse by the mean over the modalities that are present."""

from torch import Tensor, nn


class Mean(nn.Module):
    """The mean over the present modalities: no parameters, and the same scale however many are missing."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, modalities, width) to (batch, width)."""
        return embeddings.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
