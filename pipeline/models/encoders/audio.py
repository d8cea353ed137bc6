"""Encoders of sounds: MFCC (batch, frames, coefficients) float32 and the number of valid frames (batch,), to (batch,
width of the embedding). What stands after the valid frames does not matter, nor how much of it there is.
"""

import torch
from torch import Tensor, nn

from pipeline.models.encoders.layers import FrameNorm, Scale, build_outlet, find_valid, pool_valid
from pipeline.models.inputs import ModalityInput

CHANNELS = (64, 96, 128)
HIDDEN = 96


class AudioCnn(nn.Module):
    """Three convolutions over the frames, each halving their number, pooled over the valid ones."""

    def __init__(self, source: ModalityInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels = source.shape[1]
        for wider in CHANNELS:
            self.convolutions.append(nn.Conv1d(channels, wider, 5, stride=2, padding=2, bias=False))
            self.norms.append(FrameNorm(wider))
            channels = wider
        self.outlet = build_outlet(2 * channels, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> Tensor:
        """(batch, frames, coefficients) and (batch,)."""
        values = self.scale(frames).transpose(1, 2)
        valid = find_valid(frames, length)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # After each layer anew: a norm's bias would make something of the padding, and the next layer see it.
            values = convolution(values.masked_fill(~valid.unsqueeze(1), 0))
            values = torch.relu(norm(values))
            valid = valid[:, ::2]
        embedding: Tensor = self.outlet(pool_valid(values.transpose(1, 2), valid))
        return embedding


class AudioGru(nn.Module):
    """A gated recurrent unit over the frames, pooled over the valid ones. It runs forwards only, so that no valid
    frame has seen the padding after it."""

    def __init__(self, source: ModalityInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.gru = nn.GRU(source.shape[1], HIDDEN, batch_first=True)
        self.outlet = build_outlet(2 * HIDDEN, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> Tensor:
        """(batch, frames, coefficients) and (batch,)."""
        valid = find_valid(frames, length)
        states, _ = self.gru(self.scale(frames).masked_fill(~valid.unsqueeze(2), 0))
        embedding: Tensor = self.outlet(pool_valid(states, valid))
        return embedding
