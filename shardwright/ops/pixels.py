"""Decode an image file to pixels: JPEG by libjpeg-turbo, at a fraction of its size where that is enough."""

import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.read_context import Content
from shardwright.format.exif_orientation import UPRIGHT, read_orientation
from shardwright.format.image_header import JPEG_START, read_image_size
from shardwright.format.jpeg import find_simplejpeg
from shardwright.format.opencv import decode_rgb, load_opencv
from shardwright.webdataset.npy import decode_npy

NPY = b"\x93NUMPY"
MAX_EXIF = 65_535
"""Bytes of a segment of a JPEG file."""
INSTEAD = "or read the other fields: data.select([...])"
SMALLEST_FACTOR = 2.0
"""libjpeg-turbo decodes at seven eighths of the size and so on as well, but slower than at the whole size."""


class Decodable(NamedTuple):
    """An image file whose header was read.

    Attributes:
        content: the file.
        height, width: as stored.
        orientation: how to turn the stored pixels, 1 to 8 as in EXIF; 1 where the decoder turns them.
    """

    content: NDArray[np.uint8]
    height: int
    width: int
    orientation: int


class DecodedImage(NamedTuple):
    """Pixels, uint8 (height, width, 3), RGB, and what the decoder warned of."""

    pixels: NDArray[np.uint8]
    warning: str | None = None


_scratch = threading.local()


def open_image(content: Content, max_pixels: int) -> Decodable:
    """Read the header of an image.

    Raises:
        ValueError: it is no image that can be decoded, or has more pixels than allowed.
    """
    file = np.frombuffer(content, np.uint8)
    data = content if isinstance(content, bytes) else content.tobytes()
    if data.startswith(NPY):
        height, width = _decode_array(data).shape[:2]
        return Decodable(file, height, width, UPRIGHT)
    size = read_image_size(data)
    if size.height * size.width > max_pixels:
        raise ValueError(f"it has {size.width} × {size.height} pixels; max_pixels allows {max_pixels}")
    if size.exif:
        return Decodable(file, size.height, size.width, read_orientation(data[size.exif : size.exif + MAX_EXIF]))
    return Decodable(file, size.height, size.width, UPRIGHT)


def is_jpeg(image: Decodable) -> bool:
    """Return whether the file is a JPEG file by its beginning."""
    return image.content[: len(JPEG_START)].tobytes() == JPEG_START


def decode_image(image: Decodable, least: tuple[int, int] | None) -> DecodedImage:
    """Decode an image as it is stored.

    Args:
        image: the file and its header.
        least: a JPEG may be decoded at a fraction of its size which is at least this (height, width); None decodes it
            whole.

    Raises:
        ValueError: it cannot be decoded.
        ModuleNotFoundError: OpenCV is not installed.
    """
    start = image.content[: len(NPY)].tobytes()
    if start == NPY:
        return DecodedImage(_decode_array(image.content.tobytes()))
    if is_jpeg(image) and (simplejpeg := find_simplejpeg()) is not None:
        return _decode_jpeg(simplejpeg, image, least)
    return DecodedImage(decode_rgb(load_opencv(INSTEAD), image.content, upright=image.orientation == UPRIGHT))


def _decode_jpeg(simplejpeg: Any, image: Decodable, least: tuple[int, int] | None) -> DecodedImage:
    """Decode a JPEG file into memory that this thread uses again for its next image."""
    height, width = least or (image.height, image.width)
    options = {"min_height": height, "min_width": width, "min_factor": SMALLEST_FACTOR} if least else {}
    memory = _reserve(image.height * image.width * 3)
    try:
        return DecodedImage(simplejpeg.decode_jpeg(image.content, "RGB", buffer=memory, **options))
    except ValueError as error:  # a warning of the decoder, or colours that it does not convert
        pixels = decode_rgb(load_opencv(INSTEAD), image.content, upright=False)
        return DecodedImage(pixels, str(error))


def _reserve(size: int) -> NDArray[np.uint8]:
    """Return memory of this thread, uint8 (at least size,): fresh pages for each image cost a third of its decoding."""
    memory: NDArray[np.uint8] | None = getattr(_scratch, "memory", None)
    if memory is None or len(memory) < size:
        memory = _scratch.memory = np.empty(size, np.uint8)
    return memory


def _decode_array(data: bytes) -> NDArray[np.uint8]:
    pixels = decode_npy(data)
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
        raise ValueError(f"it is an array {pixels.dtype} {pixels.shape}; pixels are uint8 (height, width, 3)")
    return pixels
