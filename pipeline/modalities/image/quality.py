"""Measure the quality of images by their grey levels, uint8 (height, width)."""

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.image.pixels import load_opencv

_DARK, _BRIGHT = 5, 250
_SHARPNESS_SIDE = 512
"""Pixels. Sharpness depends on the size at which one looks: it is that of an image at which people look."""


def measure_extreme(levels: NDArray[np.uint8]) -> float:
    """Return the share of pixels that are nearly black or nearly white, 0 to 1."""
    return float(np.mean((levels <= _DARK) | (levels >= _BRIGHT)))


def measure_sharpness(levels: NDArray[np.uint8]) -> float:
    """Return the variance of the Laplacian in squared levels (Pech-Pacheco et al., 2000), of the image shrunk by area
    means to 512 pixels on its longer side where that is longer."""
    cv2 = load_opencv()
    factor = _SHARPNESS_SIDE / max(levels.shape)
    if factor < 1:
        size = tuple(max(1, round(side * factor)) for side in reversed(levels.shape))
        levels = cv2.resize(levels, size, interpolation=cv2.INTER_AREA)
    return float(cv2.meanStdDev(cv2.Laplacian(levels, cv2.CV_64F))[1].item() ** 2)
