"""Pictures that a field keeps as JPEG files: encoded and decoded."""

import numpy as np
from numpy.typing import NDArray

from shardwright.format.image_header import MAX_JPEG_SIDE
from shardwright.format.opencv import decode_rgb, load_opencv


def encode_jpeg(pixels: NDArray[np.uint8], quality: int) -> bytes:
    """A picture as a baseline JPEG file: colours at half the resolution, as OpenCV does by itself; no metadata.

    The same pixels give the same bytes from one release of OpenCV.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        quality: 1 to 100, as libjpeg counts it.

    Raises:
        ValueError: another dtype, shape or quality; the message shows it.
        ModuleNotFoundError: OpenCV is not installed.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"pixels uint8 (height, width, 3) are wanted, these are {pixels.dtype} {pixels.shape}")
    if not (min(pixels.shape) > 0 and max(pixels.shape) <= MAX_JPEG_SIDE and 1 <= quality <= 100):
        raise ValueError(f"{pixels.shape} at quality {quality}: 1 to {MAX_JPEG_SIDE} pixels a side, quality 1 to 100")
    cv2 = load_opencv("or give JPEG files that you have")
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data.tobytes())


def decode_jpeg(content: NDArray[np.uint8], shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The pixels: uint8 (height, width, 3), RGB; as stored, whatever EXIF data says. Python's lock is not held.

    Args:
        content: uint8 (bytes,), the file; only read.
        shape: of the field, (height, width, 3).

    Raises:
        ValueError: it cannot be decoded, or to another shape.
        ModuleNotFoundError: OpenCV is not installed.
    """
    cv2 = load_opencv("or read the other fields alone: data.select([...])")
    pixels = decode_rgb(cv2, content, upright=False)
    if pixels.shape != shape:
        raise ValueError(f"decodes to {pixels.shape}, the field says {shape}")
    return pixels
