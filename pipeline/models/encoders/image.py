"""Encode images: (batch, height, width, channels) uint8 to `EncodedPart`, whose tokens are positions."""

import torch
from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import Scale, build_projection
from pipeline.models.inputs import PartInput

CHANNELS = (16, 32, 64, 128)
"""Of the four convolutions, each halving the side: 64 × 64 pixels end as 4 × 4. 0.2 million parameters, 13 million
multiplications for an image of that size, which two cores train on at some 1,500 images/s."""

GROUPS = 8


class ImageCnn(nn.Module):
    """Four strided convolutions with group norm, then the mean over all positions."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.channels = CHANNELS[-1]
        layers: list[nn.Module] = []
        channels = source.shape[2]
        for wider in CHANNELS:
            convolution = nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(GROUPS, wider), nn.ReLU()]
            channels = wider
        self.layers = nn.Sequential(*layers)
        self.outlet = build_projection(channels, width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `pixels` (batch, height, width, channels) uint8; images have no `length`."""
        features: Tensor = self.layers(self.scale(pixels).permute(0, 3, 1, 2))
        tokens = features.flatten(2).transpose(1, 2)
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return EncodedPart(self.outlet(features.mean((2, 3))), tokens, valid)
