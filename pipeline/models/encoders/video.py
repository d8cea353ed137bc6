"""Encode videos: (batch, frames, height, width, channels) uint8 to `EncodedPart`, whose tokens are frames."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from pipeline.models.encoders.build import build_encoder
from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.options import VideoSizes, list_sizes
from pipeline.models.inputs import PartInput


class VideoCnn(nn.Module):
    """An image encoder on each frame, then a pooling of their embeddings."""

    def __init__(self, source: PartInput, width: int, options: VideoSizes) -> None:
        super().__init__()
        self.channels = width
        image = replace(source, modality="image", shape=source.shape[1:])
        self.frames = build_encoder(image, width, options.frames.name, list_sizes(options.frames))
        self.mixes_samples = getattr(self.frames, "mixes_samples", False)
        if options.pooling == "gru":
            self.gru = nn.GRU(width, width, batch_first=True)
        if options.pooling == "attention":
            self.attention = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, 1, bias=False))

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `pixels` (batch, frames, height, width, channels) uint8; videos have no `length`."""
        encoded = EncodedPart.read(self.frames(pixels.flatten(0, 1)))
        tokens = encoded.pooled.reshape(*pixels.shape[:2], -1)
        if hasattr(self, "gru"):
            tokens = self.gru(tokens)[0]
        valid = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
        if hasattr(self, "attention"):  # a score a frame, as Ilse, Tomczak and Welling 2018
            shares = self.attention(tokens).softmax(1)
            return EncodedPart(torch.einsum("bfs,bfw->bw", shares, tokens), tokens, valid)
        return EncodedPart(tokens.mean(1), tokens, valid)
