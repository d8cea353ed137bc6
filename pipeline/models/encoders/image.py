"""Encoders of pictures: (batch, height, width, channels) uint8 to (batch, width of the embedding)."""

from torch import Tensor, nn

from pipeline.models.encoders.layers import Scale, build_outlet
from pipeline.models.inputs import ModalityInput

CHANNELS = (16, 32, 64, 128)
"""Of the four convolutions, each halving the side: 64 × 64 pixels end as 4 × 4. 0.2 million parameters, 13 million
multiplications a picture of that size, which two cores train on at some 1,500 pictures a second."""

GROUPS = 8


class ImageCnn(nn.Module):
    """Four strided convolutions with group norm, then the mean over all places."""

    def __init__(self, source: ModalityInput, width: int) -> None:
        super().__init__()
        self.scale = Scale(source)
        layers: list[nn.Module] = []
        channels = source.shape[2]
        for wider in CHANNELS:
            convolution = nn.Conv2d(channels, wider, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(GROUPS, wider), nn.ReLU()]
            channels = wider
        self.layers = nn.Sequential(*layers)
        self.outlet = build_outlet(channels, width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> Tensor:
        """(batch, height, width, channels) uint8; pictures have no length."""
        places: Tensor = self.layers(self.scale(pixels).permute(0, 3, 1, 2))
        embedding: Tensor = self.outlet(places.mean((2, 3)))
        return embedding
