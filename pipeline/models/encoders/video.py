"""Encode videos: (batch, frames, height, width, channels) uint8 to (batch, width) float32."""

from dataclasses import replace

from torch import Tensor, nn

from pipeline.models.encoders.table import ENCODERS
from pipeline.models.inputs import PartInput


class VideoCnn(nn.Module):
    """The image encoder on each frame, then the mean over the frames: motion is not seen."""

    def __init__(self, source: PartInput, width: int) -> None:
        super().__init__()
        self.frames = ENCODERS["image"]["cnn"](replace(source, shape=source.shape[1:]), width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> Tensor:
        """Encode `pixels` (batch, frames, height, width, channels) uint8; videos have no `length`."""
        embeddings: Tensor = self.frames(pixels.flatten(0, 1))
        return embeddings.reshape(*pixels.shape[:2], -1).mean(1)
