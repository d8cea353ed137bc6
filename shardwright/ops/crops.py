"""Choose which part of an image is taken, and to which size it is resized. Sizes are (height, width) in pixels."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

MAX_SIDE = 16_384


class Box(NamedTuple):
    """A rectangle of an image's pixels."""

    top: int
    left: int
    height: int
    width: int


class Plan(NamedTuple):
    """Resize `box` to `resized`, and take the pixels from `top` and `left` on."""

    box: Box
    resized: tuple[int, int]
    top: int = 0
    left: int = 0


class Crop(ABC):
    """How a part of an image is chosen. Each is a frozen dataclass."""

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """Height and width of what is taken."""

    @property
    def draws(self) -> int:
        """Random numbers that `plan` takes."""
        return 0

    @abstractmethod
    def plan(self, height: int, width: int, draws: Sequence[float]) -> Plan:
        """Return what to do with an image of this size.

        Args:
            height, width: of the image, upright.
            draws: as many numbers in [0, 1) as `draws` says.
        """


@dataclass(frozen=True)
class Resize(Crop):
    """The whole image, resized to height × width whatever its shape; one number is both sides."""

    size: int | tuple[int, int]

    def __post_init__(self) -> None:
        check_size("size", self.size)

    @property
    def shape(self) -> tuple[int, int]:
        """See `Crop.shape`."""
        return as_pair(self.size)

    def plan(self, height: int, width: int, draws: Sequence[float]) -> Plan:
        """See `Crop.plan`."""
        return Plan(Box(0, 0, height, width), self.shape)


@dataclass(frozen=True)
class CenterCrop(Crop):
    """The middle of the image, after its shorter side was resized to `resize`.

    Args:
        size: of the crop; one number is both sides.
        resize: of the shorter side of the image; None is the longer side of `size`. At least that.
    """

    size: int | tuple[int, int]
    resize: int | None = None

    def __post_init__(self) -> None:
        check_size("size", self.size)
        if self.resize is not None and not max(self.shape) <= self.resize <= MAX_SIDE:
            raise ValueError(f"resize is {self.resize!r}; it must be {max(self.shape)} to {MAX_SIDE}")

    @property
    def shape(self) -> tuple[int, int]:
        """See `Crop.shape`."""
        return as_pair(self.size)

    def plan(self, height: int, width: int, draws: Sequence[float]) -> Plan:
        """See `Crop.plan`."""
        shorter = self.resize or max(self.shape)
        scale = shorter / min(height, width)
        resized = (
            (shorter, max(shorter, int(width * scale)))
            if height <= width
            else (max(shorter, int(height * scale)), shorter)
        )
        top, left = ((whole - part) // 2 for whole, part in zip(resized, self.shape, strict=True))
        return Plan(Box(0, 0, height, width), resized, top, left)


@dataclass(frozen=True)
class RandomResizedCrop(Crop):
    """A random part of the image, resized to `size`: the usual augmentation of Szegedy et al. 2015, "Going deeper with
    convolutions", section 6.

    An area and a ratio are drawn up to ten times until such a box fits; else the largest box in the middle is taken
    whose ratio is allowed.

    Args:
        size: of the result; one number is both sides.
        scale: least and most of the image's area.
        ratio: least and most of width / height, drawn evenly in its logarithm.
    """

    size: int | tuple[int, int]
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __post_init__(self) -> None:
        check_size("size", self.size)
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"scale is {self.scale!r}; it must be two shares over 0 and up to 1, ascending")
        if not 0 < self.ratio[0] <= self.ratio[1] < math.inf:
            raise ValueError(f"ratio is {self.ratio!r}; it must be two numbers over 0, ascending")

    @property
    def shape(self) -> tuple[int, int]:
        """See `Crop.shape`."""
        return as_pair(self.size)

    @property
    def draws(self) -> int:
        """Ten areas and ratios, and a place."""
        return 22

    def plan(self, height: int, width: int, draws: Sequence[float]) -> Plan:
        """See `Crop.plan`."""
        (least, most), (low, high) = self.scale, map(math.log, self.ratio)
        for at in range(0, 20, 2):
            area = height * width * (least + (most - least) * draws[at])
            ratio = math.exp(low + (high - low) * draws[at + 1])
            box_height, box_width = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
            if 0 < box_height <= height and 0 < box_width <= width:
                top = int(draws[20] * (height - box_height + 1))
                left = int(draws[21] * (width - box_width + 1))
                return Plan(Box(top, left, box_height, box_width), self.shape)
        return Plan(self._find_middle(height, width), self.shape)

    def _find_middle(self, height: int, width: int) -> Box:
        ratio = min(max(width / height, self.ratio[0]), self.ratio[1])
        box_height = max(1, min(height, round(width / ratio)))
        box_width = max(1, min(width, round(height * ratio)))
        return Box((height - box_height) // 2, (width - box_width) // 2, box_height, box_width)


def as_pair(size: int | tuple[int, int]) -> tuple[int, int]:
    """Return height and width of a size; one number is both."""
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def check_size(name: str, size: object) -> None:
    """Check a size of one or two numbers.

    Raises:
        ValueError: it is something else, or out of range.
    """
    sides = size if isinstance(size, tuple) else (size, size)
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= MAX_SIDE for side in sides):
        raise ValueError(f"{name} is {size!r:.80}; it must be a number or (height, width), each 1 to {MAX_SIDE}")
