"""Share layers among encoders: scaling, padding masks, pooling over valid steps.

Each layer works on every sample separately. A batch norm would mix the zeros of a missing modality into other samples.
"""

import torch
from torch import Tensor, nn

from pipeline.models.inputs import PartInput


class Scale(nn.Module):
    """`(x - mean) / std` over the last axis, with mean and standard deviation of the training split.

    They are buffers, so that a checkpoint has them. A field without statistics is only converted to float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: PartInput) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(source.mean or (0.0,), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(source.std or (1.0,), dtype=torch.float32))

    def forward(self, values: Tensor) -> Tensor:
        """Scale (..., channels) of any dtype to the same shape in float32."""
        return (values.float() - self.mean) / self.std


class FrameNorm(nn.LayerNorm):
    """Layer norm over the channels of each frame, so that padding does not influence valid frames."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalize (batch, channels, frames); the shape stays."""
        return super().forward(values.transpose(1, 2)).transpose(1, 2)


def find_valid(values: Tensor, length: Tensor | None) -> Tensor:
    """Return the mask of valid steps, (batch, steps) bool, for `values` (batch, steps, …) and `length` (batch,).

    Without a length, all steps are valid.
    """
    if length is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return torch.arange(values.shape[1], device=values.device) < length.unsqueeze(1)


def pool_valid(values: Tensor, valid: Tensor) -> Tensor:
    """Return mean and maximum over the valid steps of (batch, steps, channels): (batch, 2 × channels).

    Zeros where a sample has no valid step. Not an adaptive pooling layer: CUDA has no deterministic backward for those.
    """
    mask = valid.unsqueeze(2)
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = values.masked_fill(~mask, 0).sum(1) / count
    largest = values.masked_fill(~mask, float("-inf")).amax(1)
    return torch.cat([mean, largest.masked_fill(~valid.any(1, keepdim=True), 0)], dim=1)


def build_projection(channels: int, width: int) -> nn.Module:
    """Return the last layers of an encoder, (batch, channels) to (batch, width), at one scale for all modalities."""
    return nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))
