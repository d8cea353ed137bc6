"""Encode videos: (batch, frames, height, width, channels) uint8 to `EncodedPart`, whose tokens are frames."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.table import ENCODERS
from pipeline.models.inputs import PartInput


class VideoCnn(nn.Module):
    """The image encoder on each frame, then the mean over the frames: motion is not seen."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.channels = width
        self.frames = ENCODERS["image"]["cnn"](replace(source, shape=source.shape[1:]), width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `pixels` (batch, frames, height, width, channels) uint8; videos have no `length`."""
        encoded: EncodedPart = self.frames(pixels.flatten(0, 1))
        tokens = encoded.pooled.reshape(*pixels.shape[:2], -1)
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        return EncodedPart(tokens.mean(1), tokens, valid)
