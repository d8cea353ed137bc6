"""Resize pixels, with or without antialiasing."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]


def resize(pixels: Pixels, shape: tuple[int, int], antialias: bool) -> Pixels:
    """Return the pixels, uint8 (height, width, 3), resized bilinearly to (height, width).

    With antialiasing, a filter that shrinks is as wide as the pixels that it covers, as in Pillow, from which PyTorch's
    kernel differs by 0.02 of 255 levels on average; without it, OpenCV takes the four nearest pixels.
    """
    if pixels.shape[:2] == shape:
        return pixels
    if not antialias:
        return _resize_linear(pixels, shape)
    import torch
    from torch.nn.functional import interpolate

    # The batch axis before the permutation: after it, PyTorch takes one image for planes, and the result is transposed.
    planes = torch.from_numpy(np.ascontiguousarray(pixels))[None].permute(0, 3, 1, 2)
    resized = interpolate(planes, shape, mode="bilinear", antialias=True)
    found: Pixels = resized[0].permute(1, 2, 0).numpy()
    return found


def _resize_linear(pixels: Pixels, shape: tuple[int, int]) -> Pixels:
    import cv2

    found: Any = cv2.resize(pixels, shape[::-1], interpolation=cv2.INTER_LINEAR)
    resized: Pixels = found
    return resized
