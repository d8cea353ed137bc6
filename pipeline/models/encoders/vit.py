"""Encode images by a small vision transformer (Dosovitskiy et al. 2021; without a class token, as in Beyer et al. 2022,
"Better plain ViT baselines for ImageNet-1k")."""

import torch
from torch import Tensor, nn

from pipeline.errors import InputError
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import Scale, build_projection, build_transformer
from pipeline.models.encoders.options import VitSizes
from pipeline.models.inputs import PartInput


class Vit(nn.Module):
    """A linear layer for each square of the image plus learned positions, transformer layers, then the mean."""

    def __init__(self, source: PartInput, width: int, options: VitSizes) -> None:
        super().__init__()
        height, across, colours = source.shape
        if height % options.patch or across % options.patch:
            raise InputError(
                f"train.encoders.image.patch is {options.patch}; it must divide the images' {height} × {across} pixels"
            )
        self.scale = Scale(source)
        self.channels = options.channels
        self.squares = nn.Conv2d(colours, self.channels, options.patch, options.patch)
        count = height * across // options.patch**2
        self.positions = nn.Parameter(0.02 * torch.randn(count, self.channels))
        self.layers = build_transformer(options)
        self.norm = nn.LayerNorm(self.channels)
        self.outlet = build_projection(self.channels, width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `pixels` (batch, height, width, channels) uint8; images have no `length`."""
        tokens = self.squares(self.scale(pixels).permute(0, 3, 1, 2)).flatten(2).transpose(1, 2) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        tokens = self.norm(tokens)
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return EncodedPart(self.outlet(tokens.mean(1)), tokens, valid)
