"""Encode any modality by one linear layer of all its values: with the fusion `early` the first layer of a perceptron
that sees all parts side by side."""

from math import prod

from torch import Tensor, nn

from pipeline.models.encoders.layers import Scale, find_valid
from pipeline.models.encoders.words import Words
from pipeline.models.inputs import PartInput

CHANNELS = 16
"""Of a token's embedding, which for a linear layer is the same as a one-hot vector of rank 16."""


class Flat(nn.Module):
    """The scaled values side by side, zeros for padding, and a linear layer."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        if source.words:
            self.words = Words(source, CHANNELS)
        else:
            self.scale = Scale(source)
        values = source.shape[0] * CHANNELS if source.words else prod(source.shape)
        self.outlet = nn.Linear(values, width)

    def forward(self, values: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode `values` (batch, *shape), the first `length` (batch,) of whose steps are valid, as (batch, width)."""
        valid = find_valid(values, length)
        scaled = self.words(values, valid) if hasattr(self, "words") else self.scale(values)
        steps = scaled.flatten(2).masked_fill(~valid.unsqueeze(2), 0)
        embedding: Tensor = self.outlet(steps.flatten(1))
        return embedding
