"""Layers that several encoders share: scaling, padding masks, pooling over what is valid.

Every one works on each sample by itself. A batch norm would mix the zeros of a missing modality into the others'.
"""

import torch
from torch import Tensor, nn

from pipeline.models.inputs import ModalityInput


class Scale(nn.Module):
    """`(x - mean) / std` over the last axis, with mean and deviation of the training split.

    They are buffers, so that a checkpoint knows them. A field without statistics passes as it is, as float32.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, source: ModalityInput) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(source.mean or (0.0,), dtype=torch.float32))
        self.register_buffer("std", torch.tensor(source.std or (1.0,), dtype=torch.float32))

    def forward(self, values: Tensor) -> Tensor:
        """(..., channels) of any dtype to the same shape in float32."""
        return (values.float() - self.mean) / self.std


class FrameNorm(nn.LayerNorm):
    """Layer norm over the channels of each frame of (batch, channels, frames): padding cannot reach valid frames."""

    def forward(self, values: Tensor) -> Tensor:
        """(batch, channels, frames) to the same."""
        return super().forward(values.transpose(1, 2)).transpose(1, 2)


def find_valid(values: Tensor, length: Tensor | None) -> Tensor:
    """(batch, steps) bool for `values` (batch, steps, …): the steps before each sample's `length` (batch,); without
    one, all of them."""
    if length is None:
        return torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return torch.arange(values.shape[1], device=values.device) < length.unsqueeze(1)


def pool_valid(values: Tensor, valid: Tensor) -> Tensor:
    """(batch, steps, channels) to (batch, 2 × channels): mean and maximum over the valid steps, zeros where none is.

    Not an adaptive pooling layer: CUDA has no deterministic backward for those.
    """
    mask = valid.unsqueeze(2)
    count = valid.sum(1, keepdim=True).clamp(min=1)
    mean = values.masked_fill(~mask, 0).sum(1) / count
    largest = values.masked_fill(~mask, float("-inf")).amax(1)
    return torch.cat([mean, largest.masked_fill(~valid.any(1, keepdim=True), 0)], dim=1)


def build_outlet(channels: int, width: int) -> nn.Module:
    """From an encoder's channels to the shared width, at one scale for all modalities."""
    return nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))
