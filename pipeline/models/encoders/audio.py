"""Encode audio features: (batch, frames, coefficients) float32 and valid frames (batch,) to `EncodedPart`.

The values and the number of padding frames do not influence the embedding.
"""

import torch
from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import FrameNorm, Scale, build_projection, find_valid, pool_valid
from pipeline.models.inputs import PartInput

CHANNELS = (64, 96, 128)
HIDDEN = 96


class AudioCnn(nn.Module):
    """Three convolutions over the frames, each halving their number, then pooling over the valid frames."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels = source.shape[1]
        self.channels = CHANNELS[-1]
        for wider in CHANNELS:
            self.convolutions.append(nn.Conv1d(channels, wider, 5, stride=2, padding=2, bias=False))
            self.norms.append(FrameNorm(wider))
            channels = wider
        self.outlet = build_projection(2 * channels, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `frames` (batch, frames, coefficients) with `length` (batch,)."""
        values = self.scale(frames).transpose(1, 2)
        valid = find_valid(frames, length)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Masked again before each layer: a norm's bias makes padding nonzero, and the next layer would see it.
            values = convolution(values.masked_fill(~valid.unsqueeze(1), 0))
            values = torch.relu(norm(values))
            valid = valid[:, ::2]
        tokens = values.transpose(1, 2)
        return EncodedPart(self.outlet(pool_valid(tokens, valid)), tokens, valid)


class AudioGru(nn.Module):
    """A gated recurrent unit over the frames, then pooling over the valid frames.

    It runs forwards only, so that no state of a valid frame depends on the padding after it.
    """

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.channels = HIDDEN
        self.gru = nn.GRU(source.shape[1], HIDDEN, batch_first=True)
        self.outlet = build_projection(2 * HIDDEN, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `frames` (batch, frames, coefficients) with `length` (batch,)."""
        valid = find_valid(frames, length)
        states, _ = self.gru(self.scale(frames).masked_fill(~valid.unsqueeze(2), 0))
        return EncodedPart(self.outlet(pool_valid(states, valid)), states, valid)
