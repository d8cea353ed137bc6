"""Fuse by concatenation: all embeddings side by side, then one hidden layer."""

from torch import Tensor, nn


class Concat(nn.Module):
    """Concatenation and one hidden layer. Strong where all modalities are present."""

    def __init__(self, modalities: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(modalities * width, width), nn.ReLU())

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, modalities, width) to (batch, width)."""
        fused: Tensor = self.layers(embeddings.flatten(1))
        return fused
