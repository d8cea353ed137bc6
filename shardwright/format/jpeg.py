"""Encode and decode the images of fields with the encoding "jpeg"."""

from contextlib import suppress
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.format.image_header import MAX_JPEG_SIDE, check_jpeg
from shardwright.format.opencv import decode_rgb, load_opencv


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """Encode an image as a baseline JPEG file with chroma at half the resolution, OpenCV's default, and no metadata.

    The same pixels give the same bytes with the same release of OpenCV.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        quality: of libjpeg, 1 to 100.

    Raises:
        ValueError: another dtype, shape or quality; the message shows it.
        ModuleNotFoundError: OpenCV is not installed.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels are {pixels.dtype} {pixels.shape}; they must be uint8 (height, width, 3)")
    if not 0 < min(pixels.shape) <= max(pixels.shape) <= MAX_JPEG_SIDE:
        raise ValueError(f"pixels are {pixels.shape}; height and width must be 1 to {MAX_JPEG_SIDE}")
    if not 1 <= quality <= 100:
        raise ValueError(f"quality is {quality}; it must be 1 to 100")
    cv2 = load_opencv("or pass the bytes of JPEG files")
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data.tobytes())


def decode_jpeg(
    content: NDArray[np.uint8], shape: tuple[int, ...], out: NDArray[np.uint8] | None = None
) -> NDArray[np.uint8]:
    """Decode a JPEG file to uint8 (height, width, 3), RGB, as stored: EXIF orientation is ignored. Releases the GIL.

    Args:
        content: uint8 (bytes,), the file; only read.
        shape: of the field, (height, width, 3).
        out: where to write the pixels, contiguous, or None for fresh memory.

    Raises:
        ValueError: it is not a whole file, cannot be decoded, or decodes to another shape.
        ModuleNotFoundError: neither simplejpeg nor OpenCV is installed.
    """
    out = np.empty(shape, np.uint8) if out is None else out
    check_jpeg(content.tobytes(), shape)
    if (simplejpeg := find_simplejpeg()) is not None:
        with suppress(ValueError):  # it warns of the file, or does not convert its colours
            simplejpeg.decode_jpeg(content, "RGB", buffer=out)
            return out
    pixels = decode_rgb(load_opencv("or read only the other fields: data.select([...])"), content, upright=False)
    if pixels.shape != shape:
        raise ValueError(f"decodes to {pixels.shape}; the field has {shape}")
    out[:] = pixels
    return out


@cache
def find_simplejpeg() -> Any:
    """Return the module, or None where it is not installed: OpenCV gives the same pixels, in more time."""
    try:
        import simplejpeg
    except ModuleNotFoundError:
        return None
    return simplejpeg
