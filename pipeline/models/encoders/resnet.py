"""Encode images by residual networks (He et al. 2016), with the names and shapes of weights that torchvision has.

So a file of weights from torchvision can be loaded; its last layer, `fc`, is not used.
"""

from typing import ClassVar

import torch
from torch import Tensor, nn

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.encoders.layers import BatchNorm, build_projection, count_colours, encode_positions, scale_colours
from pipeline.models.encoders.options import ResnetSizes
from pipeline.models.encoders.strided import Conv2d
from pipeline.models.inputs import PartInput


def join(inputs: int, outputs: int, side: int, stride: int = 1) -> Conv2d:
    """Return a convolution of `side` × `side` pixels that keeps the size of the image but for the stride."""
    return Conv2d(inputs, outputs, side, stride, side // 2, bias=False)


class BasicBlock(nn.Module):
    """Two convolutions of 3 × 3 and the sum with their input."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = join(inputs, width, 3, stride)
        self.bn1 = BatchNorm(width)
        self.conv2 = join(width, width, 3)
        self.bn2 = BatchNorm(width)
        if stride != 1 or inputs != width:
            self.downsample = nn.Sequential(join(inputs, width, 1, stride), BatchNorm(width))

    def forward(self, values: Tensor) -> Tensor:
        """Map (batch, inputs, height, width)."""
        changed = torch.relu(self.bn1(self.conv1(values)))
        changed = self.bn2(self.conv2(changed))
        return torch.relu(changed + (self.downsample(values) if hasattr(self, "downsample") else values))


class Bottleneck(nn.Module):
    """Convolutions of 1 × 1, 3 × 3 and 1 × 1, the last four times as wide, and the sum with their input.

    The one of 3 × 3 has the stride, as in torchvision; in the paper it is the first.
    """

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = width * self.expansion
        self.conv1 = join(inputs, width, 1)
        self.bn1 = BatchNorm(width)
        self.conv2 = join(width, width, 3, stride)
        self.bn2 = BatchNorm(width)
        self.conv3 = join(width, outputs, 1)
        self.bn3 = BatchNorm(outputs)
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(join(inputs, outputs, 1, stride), BatchNorm(outputs))

    def forward(self, values: Tensor) -> Tensor:
        """Map (batch, inputs, height, width)."""
        changed = torch.relu(self.bn1(self.conv1(values)))
        changed = torch.relu(self.bn2(self.conv2(changed)))
        changed = self.bn3(self.conv3(changed))
        return torch.relu(changed + (self.downsample(values) if hasattr(self, "downsample") else values))


class ResNet18(nn.Module):
    """A convolution, a pooling, and four groups of blocks; then the mean over all positions."""

    block: ClassVar[type[BasicBlock | Bottleneck]] = BasicBlock
    depths: ClassVar[tuple[int, ...]] = (2, 2, 2, 2)
    mixes_samples = True
    unused_weights = ("fc.",)

    def __init__(self, source: PartInput, width: int, options: ResnetSizes) -> None:
        super().__init__()
        self.scale = scale_colours(source, options.scale)
        self.conv1 = join(count_colours(source, self.scale), options.channels[0], 7, 2)
        self.bn1 = BatchNorm(options.channels[0])
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        channels = options.channels[0]
        for number, (depth, wider) in enumerate(zip(self.depths, options.channels, strict=True), 1):
            blocks = []
            for place in range(depth):
                blocks.append(self.block(channels, wider, 2 if number > 1 and place == 0 else 1))
                channels = wider * self.block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.channels = channels
        self.outlet = build_projection(channels, width)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, pixels: Tensor, length: Tensor | None = None) -> EncodedPart:
        """Encode `pixels` (batch, height, width, channels) uint8; images have no `length`."""
        values = self.maxpool(torch.relu(self.bn1(self.conv1(self.scale(pixels).permute(0, 3, 1, 2)))))
        for number in range(1, len(self.depths) + 1):
            values = self.get_submodule(f"layer{number}")(values)
        return encode_positions(values, self.outlet)


class ResNet34(ResNet18):
    """As `ResNet18`, with more blocks."""

    depths = (3, 4, 6, 3)


class ResNet50(ResNet18):
    """As `ResNet34`, with blocks of three convolutions."""

    block = Bottleneck
    depths = (3, 4, 6, 3)
