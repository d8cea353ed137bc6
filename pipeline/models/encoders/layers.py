"""Share layers among encoders: scaling, padding masks, pooling over valid steps.

Each layer works on every sample separately, but for `BatchNorm`: an encoder that has it says `mixes_samples = True`,
and in training then sees the samples that have its part, and no zeros in place of missing ones.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.options import TransformerSizes
from pipeline.models.inputs import PartInput

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and standard deviation of the colours of ImageNet, of 255, with which torchvision's weights were trained."""


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


def scale_colours(source: PartInput, scale: str) -> Scale:
    """Return the scaling of colours, by the statistics of the dataset or those of `imagenet`."""
    mean, std = IMAGENET
    return Scale(replace(source, mean=mean, std=std) if scale == "imagenet" else source)


def count_colours(source: PartInput, scale: Scale) -> int:
    """Return how many channels images have after scaling: gray ones have those of the statistics of ImageNet."""
    return max(source.shape[2], len(scale.mean))


class BatchNorm(nn.BatchNorm2d):
    """Batch norm, which also in training takes the running statistics where it sees a single value a channel, as of one
    image that convolutions have made one pixel: that has no variance."""

    def forward(self, values: Tensor) -> Tensor:
        """Normalize (batch, channels, height, width); the shape stays."""
        single = values.shape[0] * values.shape[2] * values.shape[3] == 1
        if self.training and not single:
            return super().forward(values)
        return functional.batch_norm(
            values, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps
        )


def encode_positions(features: Tensor, outlet: nn.Module) -> EncodedPart:
    """Return features (batch, channels, height, width) as tokens, and `outlet` of their mean."""
    tokens = features.flatten(2).transpose(1, 2)
    valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return EncodedPart(outlet(features.mean((2, 3))), tokens, valid)


def build_transformer(options: TransformerSizes) -> nn.ModuleList:
    """Return the layers of a transformer, which normalize before each of their halves (Xiong et al. 2020)."""
    width = options.channels
    return nn.ModuleList(
        nn.TransformerEncoderLayer(width, options.heads, 2 * width, options.dropout, batch_first=True, norm_first=True)
        for _ in range(options.layers)
    )


def run_transformer(layers: nn.ModuleList, values: Tensor, valid: Tensor) -> Tensor:
    """Return (batch, steps, channels) after all layers, in which no valid step attends to one that is not."""
    # A sample without valid steps attends to its first padding: attention over no step is NaN. Pooling gives zeros.
    padding = ~valid
    padding[:, 0] = False
    for layer in layers:
        values = layer(values, src_key_padding_mask=padding)
    return values
