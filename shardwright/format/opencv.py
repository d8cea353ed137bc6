"""Import OpenCV when the first image is decoded or encoded, with an error that says how to install it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PACKAGE = "opencv-python-headless"


def load_opencv(instead: str) -> Any:
    """Import and return the module cv2.

    Args:
        instead: an alternative to installing it, for the message.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how to install it.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"images need {PACKAGE}, which is not installed: pip install {PACKAGE}, {instead}", name="cv2"
        ) from error
    return cv2


def decode_rgb(cv2: Any, content: NDArray[np.uint8], upright: bool) -> NDArray[np.uint8]:
    """Decode an image file to uint8 (height, width, 3), RGB; grey is repeated, alpha left out. Releases the GIL.

    Args:
        cv2: the module.
        content: uint8 (bytes,), the file; only read.
        upright: whether to turn the image as its EXIF data says.

    Raises:
        ValueError: it cannot be decoded.
    """
    flags = cv2.IMREAD_COLOR_RGB if upright else cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels: NDArray[np.uint8] | None = cv2.imdecode(content, flags)
    except cv2.error as error:
        raise ValueError("OpenCV cannot decode it") from error
    if pixels is None:
        raise ValueError("OpenCV cannot decode it")
    return pixels
