"""Encode images by the networks of the Visual Geometry Group (Simonyan and Zisserman 2015), with the names and shapes
of weights that torchvision has.

So a file of weights from torchvision can be loaded; its `classifier`, 124 million weights, is not used.
"""

from typing import ClassVar

from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import build_projection, count_colours, encode_positions, scale_colours
from pipeline.models.encoders.options import VggSizes
from pipeline.models.inputs import PartInput


class Vgg11(nn.Module):
    """Groups of convolutions of 3 × 3, then the mean over all positions."""

    depths: ClassVar[tuple[int, ...]] = (1, 1, 2, 2, 2)
    unused_weights = ("classifier.",)

    def __init__(self, source: PartInput, width: int, options: VggSizes) -> None:
        super().__init__()
        self.scale = scale_colours(source, options.scale)
        layers: list[nn.Module] = []
        channels = count_colours(source, self.scale)
        for depth, wider in zip(self.depths, options.channels, strict=True):
            for _ in range(depth):
                layers += [nn.Conv2d(channels, wider, 3, padding=1), nn.ReLU()]
                channels = wider
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))  # so that images of less than 32 pixels go through
        self.features = nn.Sequential(*layers)
        self.channels = channels
        self.outlet = build_projection(channels, width)
        for module in self.features:
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `pixels` (batch, height, width, channels) uint8; images have no `length`."""
        return encode_positions(self.features(self.scale(pixels).permute(0, 3, 1, 2)), self.outlet)


class Vgg16(Vgg11):
    """As `Vgg11`, with more convolutions."""

    depths = (2, 2, 3, 3, 3)
