"""List the formats of images: what parses each, and what decodes it. To add one: its row here, see `media_type`.

Pixels are arrays of uint8, uint16 or float32: (height, width) grey, (height, width, 3) BGR, or 4 BGRA with straight
alpha. Integers have all levels of their type, floats 0 to 1.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.image import bmp, gif, heif, jpeg, png, tiff, webp
from pipeline.formats.type_names import AVIF, BMP, GIF, HEIC, JPEG, PNG, TIFF, WEBP
from pipeline.modalities.image.heic import decode_heic
from pipeline.modalities.image.pixels import FULL_LEVELS, decode_pixels
from pipeline.modalities.strip_file import Parser

Decoded = NDArray[Any] | None
"""Pixels; None where the decoder cannot read them."""


@dataclass(frozen=True, slots=True)
class ImageFormat:
    """A format: its parser, and a function that decodes a file whose header the parser accepts."""

    parser: Parser
    decode: Callable[[bytes], Decoded] = decode_pixels


def decode_image(data: bytes, media_type: str) -> Decoded:
    """Return the pixels of an image, not turned; None where its parser or its decoder cannot read it."""
    try:
        pixels = FORMATS[media_type].decode(data)
    except FormatFault:
        return None
    if pixels is None or pixels.dtype.name not in FULL_LEVELS or not np.isfinite(pixels.max() - pixels.min()):
        return None
    return pixels


def _decode_tiff(data: bytes) -> Decoded:
    """OpenCV turns white-is-zero over up to 8 bits, and gives colours as they are: with alpha multiplied into them."""
    header, pixels = tiff.read_header(data), decode_pixels(data)
    if pixels is None:
        return None
    if header.inverted:
        pixels = np.asarray(FULL_LEVELS[pixels.dtype.name], pixels.dtype) - pixels
    if header.premultiplied and pixels.ndim == 3 and pixels.shape[2] == 4:
        full = np.float32(FULL_LEVELS[pixels.dtype.name])
        straight = pixels[..., :3] * (full / np.maximum(pixels[..., 3:], full * np.float32(1e-6)))
        rounded = np.rint(straight) if pixels.dtype != np.float32 else straight
        pixels[..., :3] = np.minimum(rounded, full).astype(pixels.dtype)
    return pixels


def _decode_avif(data: bytes) -> Decoded:
    """OpenCV leaves 10 and 12 bits as they are."""
    bits, pixels = heif.read_header(data).bits, decode_pixels(data)
    if pixels is None or pixels.dtype != np.uint16 or bits >= 16:
        return pixels
    full = (1 << bits) - 1
    scaled: NDArray[np.uint16] = (np.minimum(pixels, full).astype(np.uint32) * 65535 // full).astype(np.uint16)
    return scaled


FORMATS: Mapping[str, ImageFormat] = {
    JPEG: ImageFormat(jpeg),
    PNG: ImageFormat(png),
    WEBP: ImageFormat(webp),
    GIF: ImageFormat(gif),
    BMP: ImageFormat(bmp),
    TIFF: ImageFormat(tiff, _decode_tiff),
    AVIF: ImageFormat(heif, _decode_avif),
    HEIC: ImageFormat(heif, decode_heic),
}
"""By media type."""
