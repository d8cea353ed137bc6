"""Fuse before anything is encoded: the first layer of a network sees all parts side by side."""

from torch import Tensor, nn


class Early(nn.Module):
    """The rest of a perceptron whose first layer is the sum of the embeddings.

    With the encoders `flat`, which are linear, that sum is one linear layer of the concatenated inputs.
    """

    def __init__(self, parts: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.LayerNorm(width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())

    def forward(self, embeddings: Tensor, present: Tensor) -> Tensor:
        """Fuse (batch, parts, width) to (batch, width)."""
        fused: Tensor = self.layers(embeddings.sum(1))
        return fused
