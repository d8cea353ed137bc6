"""Encode images: (batch, height, width, channels) uint8 to `EncodedPart`, whose tokens are positions."""

from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import Scale, build_projection, encode_positions
from pipeline.models.encoders.options import ImageCnnSizes
from pipeline.models.encoders.strided import Conv2d
from pipeline.models.inputs import PartInput

GROUPS = 8


class ImageCnn(nn.Module):
    """Strided convolutions with group norm, then the mean over all positions."""

    def __init__(self, source: PartInput, width: int, options: ImageCnnSizes) -> None:
        super().__init__()
        self.scale = Scale(source)
        self.channels = options.channels[-1]
        layers: list[nn.Module] = []
        channels = source.shape[2]
        for wider in options.channels:
            convolution = Conv2d(channels, wider, 3, stride=2, padding=1, bias=False)
            layers += [convolution, nn.GroupNorm(GROUPS, wider), nn.ReLU()]
            channels = wider
        self.layers = nn.Sequential(*layers)
        self.outlet = build_projection(channels, width)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `pixels` (batch, height, width, channels) uint8; images have no `length`."""
        features: Tensor = self.layers(self.scale(pixels).permute(0, 3, 1, 2))
        return encode_positions(features, self.outlet)
