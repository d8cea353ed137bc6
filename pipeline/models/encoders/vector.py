"""Encode vectors that a frozen encoder made before: (batch, channels) float32 to (batch, width)."""

from torch import Tensor, nn

from pipeline.models.encoders.layers import build_projection
from pipeline.models.inputs import PartInput


class VectorLinear(nn.Module):
    """A layer norm, since vectors have no statistics in the manifest, and the last layer that every encoder has."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(source.shape[0])
        self.outlet = build_projection(source.shape[0], width)

    def forward(self, values: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode `values` (batch, channels); vectors have no `length`."""
        embedding: Tensor = self.outlet(self.norm(values.float()))
        return embedding
