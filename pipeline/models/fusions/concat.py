"""Fuse by concatenation: all embeddings side by side, then one hidden layer."""

from torch import Tensor, nn


class Concat(nn.Module):
    """Concatenation and one hidden layer. Strong where all parts are present."""

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(parts * width, width), nn.ReLU())

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) to (batch, width)."""
        fused: Tensor = self.layers(embeddings.flatten(1))
        return fused
