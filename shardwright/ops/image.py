"""Decode images: crop, resize and mirror them straight into the row of a batch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.collate import Allocate, allocate_rows
from shardwright.datasets.read_context import Content
from shardwright.format.exif_orientation import UPRIGHT
from shardwright.format.field import Field
from shardwright.ops.crops import Box, Crop
from shardwright.ops.nvimgcodec import NvImageCodec, Part
from shardwright.ops.operation import Contents, RowOperation
from shardwright.ops.pixels import Decodable, decode_image, is_jpeg, open_image
from shardwright.ops.resize import Pixels, resize
from shardwright.webdataset.limits import DEFAULT_LIMITS

TRANSPOSED = 5
"""EXIF orientations from 5 on swap rows and columns."""
FROM_BOTTOM, FROM_RIGHT = (3, 4, 7, 8), (2, 3, 6, 7)
"""Orientations whose stored rows, or columns, run from the bottom, or from the right, after rows and columns were
swapped: table 'Orientation' of CIPA DC-008, section 4.6.4."""


class PlannedImage(NamedTuple):
    """An image file, and what is taken of it.

    Attributes:
        image: the file.
        box, resized: what part of the stored image is resized to which (height, width).
        top, left: of the crop in that, once it is upright.
        flipped: whether the crop is mirrored.
    """

    image: Decodable
    box: Box
    resized: tuple[int, int]
    top: int
    left: int
    flipped: bool


@dataclass(frozen=True)
class Image(RowOperation):
    """An image file as pixels, uint8 (height, width, 3), RGB, upright.

    JPEG, PNG, WebP, AVIF, GIF (its first picture), BMP and TIFF files are decoded, and arrays uint8 (height, width, 3)
    in NPY files; grey is repeated, alpha dropped. JPEG files are decoded by simplejpeg, or by OpenCV where it is
    missing, to the same pixels.

    Args:
        crop: which part is taken, in which size: `RandomResizedCrop`, `CenterCrop` or `Resize`.
        flip: the share of samples that are mirrored from left to right.
        antialias: filter what is shrunk, as Pillow does; False takes the four nearest pixels, in less time.
        scaled: decode JPEG files at 1/2, 1/4 or 1/8 where the crop then still has the pixels that are wanted. That
            averages blocks of pixels, so the result differs by a few levels at sharp edges.
        max_pixels: of the file; more are refused before they are decoded.
        stream: the name of the random numbers. Fields with one name get the same crop and flip, such as an image and
            its mask; None is the field's own name.
        decoder: decodes JPEG files instead, on a GPU: `NvImageCodec()`.

    Raises:
        TypeError, ValueError: an argument is not allowed.
    """

    crop: Crop
    flip: float = 0.0
    antialias: bool = True
    scaled: bool = True
    max_pixels: int = DEFAULT_LIMITS.pixels
    stream: str | None = None
    decoder: NvImageCodec | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.crop, Crop):
            raise TypeError(f"crop is {self.crop!r:.80}; it must be a crop, such as ops.CenterCrop(224)")
        if not 0 <= self.flip <= 1:
            raise ValueError(f"flip is {self.flip!r}; it must be a share from 0 to 1")
        if self.max_pixels < 1:
            raise ValueError(f"max_pixels is {self.max_pixels!r}; it must be at least 1")

    @property
    def field(self) -> Field:
        """See `RowOperation.field`."""
        return Field("uint8", (*self.crop.shape, 3), "HWC")

    @property
    def draws(self) -> int:
        """Those of the crop, and one for the flip."""
        return self.crop.draws + (self.flip > 0)

    def decode(self, contents: Contents, draws: NDArray[np.float64], allocate: Allocate) -> dict[str, Any]:
        """See `Operation.decode`; with a `decoder`, JPEG files are decoded together after all files were read."""
        if self.decoder is None:
            return super().decode(contents, draws, allocate)
        rows = allocate_rows(self.field, len(draws), allocate)
        waiting: dict[int, PlannedImage] = {}
        for position, (content, numbers) in enumerate(zip(contents, draws, strict=True)):
            planned = self._plan(bytes(content), numbers)
            if is_jpeg(planned.image):
                waiting[position] = planned
            elif warning := self._decode_planned(planned, rows[position]):
                contents.warn(warning)
        self._decode_waiting(self.decoder, waiting, contents, rows)
        return {"": rows}

    def decode_row(self, content: Content, draws: NDArray[np.float64], out: NDArray[Any]) -> str | None:
        """See `RowOperation.decode_row`."""
        return self._decode_planned(self._plan(content, draws), out)

    def describe(self) -> dict[str, Any]:
        """See `Operation.describe`."""
        described = super().describe()
        if self.decoder is None:  # as before there was another
            del described["decoder"]
        return described

    def _plan(self, content: Content, draws: NDArray[np.float64]) -> PlannedImage:
        image = open_image(content, self.max_pixels)
        turned = image.orientation >= TRANSPOSED
        height, width = (image.width, image.height) if turned else (image.height, image.width)
        plan = self.crop.plan(height, width, draws.tolist())
        box = find_stored_box(plan.box, height, width, image.orientation)
        resized = plan.resized[::-1] if turned else plan.resized
        return PlannedImage(image, box, resized, plan.top, plan.left, bool(self.flip and self.flip > draws[-1]))

    def _decode_planned(self, planned: PlannedImage, out: NDArray[Any]) -> str | None:
        image, box, resized = planned.image, planned.box, planned.resized
        pixels, warning = decode_image(image, self._find_least(image, box, resized))
        self._finish(resize(_cut(pixels, box, image), resized, self.antialias), planned, out)
        return warning

    def _decode_waiting(
        self, decoder: NvImageCodec, waiting: Mapping[int, PlannedImage], contents: Contents, rows: NDArray[Any]
    ) -> None:
        parts = [
            Part(image.content.tobytes(), image.height, image.width, box, resized)
            for image, box, resized, *_ in waiting.values()
        ]
        decoded = decoder.decode_parts(parts, self.antialias)
        for (position, planned), pixels in zip(waiting.items(), decoded, strict=True):
            if pixels is not None:
                self._finish(pixels, planned, rows[position])
                continue
            contents.go_back(position)
            if warning := self._decode_planned(planned, rows[position]):
                contents.warn(warning)

    def _finish(self, pixels: Pixels, planned: PlannedImage, out: NDArray[Any]) -> None:
        """Write the crop of a part that was resized into the row."""
        upright = turn_upright(pixels, planned.image.orientation)
        rows, columns = self.crop.shape
        taken = upright[planned.top : planned.top + rows, planned.left : planned.left + columns]
        out[:] = taken[:, ::-1] if planned.flipped else taken

    def _find_least(self, image: Decodable, box: Box, resized: tuple[int, int]) -> tuple[int, int] | None:
        """Return the size of the whole image at which the box has as many pixels as are wanted."""
        if not self.scaled or resized[0] * 2 > box.height or resized[1] * 2 > box.width:
            return None
        return -(-image.height * resized[0] // box.height), -(-image.width * resized[1] // box.width)


def find_stored_box(box: Box, height: int, width: int, orientation: int) -> Box:
    """Return where a box of the upright image, of height × width, is in the image as it is stored."""
    top = height - box.top - box.height if orientation in FROM_BOTTOM else box.top
    left = width - box.left - box.width if orientation in FROM_RIGHT else box.left
    return Box(left, top, box.width, box.height) if orientation >= TRANSPOSED else Box(top, left, box.height, box.width)


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return a view of stored pixels, uint8 (height, width, 3), turned and mirrored as the orientation says."""
    if orientation == UPRIGHT:
        return pixels
    swapped = pixels.transpose(1, 0, 2) if orientation >= TRANSPOSED else pixels
    return swapped[:: -1 if orientation in FROM_BOTTOM else 1, :: -1 if orientation in FROM_RIGHT else 1]


def _cut(pixels: Pixels, box: Box, image: Decodable) -> Pixels:
    """Return the box of an image that was decoded at its size or a fraction of it."""
    rows, columns = pixels.shape[:2]
    top, bottom = (round(at * rows / image.height) for at in (box.top, box.top + box.height))
    left, right = (round(at * columns / image.width) for at in (box.left, box.left + box.width))
    return pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
