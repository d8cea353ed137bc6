"""Encode audio features: (batch, frames, coefficients) float32 and valid frames (batch,) to `EncodedPart`.

The values and the number of padding frames do not influence the embedding.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import (
    FrameNorm,
    Scale,
    build_projection,
    build_transformer,
    find_valid,
    pool_valid,
    run_transformer,
)
from pipeline.models.encoders.options import (
    AudioCnnSizes,
    AudioRecurrentSizes,
    AudioSizes,
    AudioTransformerSizes,
    CrnnSizes,
)
from pipeline.models.encoders.recurrent import add_recurrent, run_recurrent
from pipeline.models.encoders.strided import Conv1d
from pipeline.models.inputs import PartInput


class ScaleFrames(Scale):
    """`Scale`, and where the options say so less the mean of each clip's valid frames."""

    def __init__(self, source: PartInput, options: AudioSizes) -> None:
        super().__init__(source)
        self.subtract_mean = options.subtract_mean

    def forward(self, values: Tensor, valid: Tensor) -> Tensor:  # type: ignore[override]
        """Scale (batch, frames, coefficients), of which `valid` (batch, frames) count, to the same shape in float32."""
        scaled = super().forward(values)
        if not self.subtract_mean:
            return scaled
        mask = valid.unsqueeze(2)
        return scaled - scaled.masked_fill(~mask, 0).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


class FrameConvolutions(nn.Module):
    """Base of encoders whose first layers are convolutions over the frames, each halving their number."""

    def __init__(self, source: PartInput, options: AudioCnnSizes) -> None:
        super().__init__()
        self.scale = ScaleFrames(source, options)
        self.convolutions = nn.ModuleList()
        self.norms = nn.ModuleList()
        channels, kernel = source.shape[1], 2 * options.reach + 1
        for wider in options.channels:
            self.convolutions.append(Conv1d(channels, wider, kernel, 2, options.reach, bias=False))
            self.norms.append(FrameNorm(wider))
            channels = wider
        self.channels = channels

    def convolve(self, frames: Tensor, length: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return tokens (batch, fewer frames, channels) and which of them are valid."""
        valid = find_valid(frames, length)
        values = self.scale(frames, valid).transpose(1, 2)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            # Masked again before each layer: a norm's bias makes padding nonzero, and the next layer would see it.
            values = convolution(values.masked_fill(~valid.unsqueeze(1), 0))
            values = torch.relu(norm(values))
            valid = valid[:, ::2]
        return values.transpose(1, 2), valid


class AudioCnn(FrameConvolutions):
    """Convolutions over the frames, then pooling over the valid frames."""

    def __init__(self, source: PartInput, width: int, options: AudioCnnSizes) -> None:
        super().__init__(source, options)
        self.outlet = build_projection(2 * self.channels, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `frames` (batch, frames, coefficients) with `length` (batch,)."""
        tokens, valid = self.convolve(frames, length)
        return EncodedPart(self.outlet(pool_valid(tokens, valid)), tokens, valid)


class AudioCrnn(FrameConvolutions):
    """Convolutions over the frames and a gated recurrent unit over what they give, then pooling over the valid frames
    (Choi et al. 2017, "Convolutional Recurrent Neural Networks for Music Classification")."""

    def __init__(self, source: PartInput, width: int, options: CrnnSizes) -> None:
        super().__init__(source, options)
        self.channels = add_recurrent(self, "gru", self.channels, options)
        self.outlet = build_projection(2 * self.channels, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `frames` (batch, frames, coefficients) with `length` (batch,)."""
        tokens, valid = self.convolve(frames, length)
        states = run_recurrent(self, "gru", tokens.masked_fill(~valid.unsqueeze(2), 0), valid)
        return EncodedPart(self.outlet(pool_valid(states, valid)), states, valid)


class AudioGru(nn.Module):
    """A gated recurrent unit over the frames, then pooling over the valid frames."""

    cell: ClassVar[str] = "gru"

    def __init__(self, source: PartInput, width: int, options: AudioRecurrentSizes) -> None:
        super().__init__()
        self.scale = ScaleFrames(source, options)
        self.channels = add_recurrent(self, self.cell, source.shape[1], options)
        self.outlet = build_projection(2 * self.channels, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `frames` (batch, frames, coefficients) with `length` (batch,)."""
        valid = find_valid(frames, length)
        values = self.scale(frames, valid).masked_fill(~valid.unsqueeze(2), 0)
        states = run_recurrent(self, self.cell, values, valid)
        return EncodedPart(self.outlet(pool_valid(states, valid)), states, valid)


class AudioLstm(AudioGru):
    """As `AudioGru`, with long short-term memory."""

    cell = "lstm"


class AudioTransformer(nn.Module):
    """A linear layer for each frame plus learned positions, transformer layers, then pooling over the valid frames."""

    def __init__(self, source: PartInput, width: int, options: AudioTransformerSizes) -> None:
        super().__init__()
        self.scale = ScaleFrames(source, options)
        self.channels = options.channels
        self.inlet = nn.Linear(source.shape[1], self.channels)
        self.positions = nn.Parameter(0.02 * torch.randn(source.shape[0], self.channels))
        self.layers = build_transformer(options)
        self.outlet = build_projection(2 * self.channels, width)

    def forward(self, frames: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `frames` (batch, frames, coefficients) with `length` (batch,)."""
        valid = find_valid(frames, length)
        scaled = self.scale(frames, valid).masked_fill(~valid.unsqueeze(2), 0)
        tokens = run_transformer(self.layers, self.inlet(scaled) + self.positions[: frames.shape[1]], valid)
        return EncodedPart(self.outlet(pool_valid(tokens, valid)), tokens, valid)
