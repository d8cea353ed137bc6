"""Slopes and curvatures of features over time as `librosa.feature.delta` defines them. Tests hold them to it, to 1e-3.

They are the derivatives of a straight line, or of a parabola, fitted to the frames around each: the filters of
Savitzky and Golay, "Smoothing and Differentiation of Data by Simplified Least Squares Procedures" (1964).
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

WIDTH = 9
"""Frames that a line or a parabola is fitted to: librosa's default."""


def compute_delta(features: NDArray[np.float32], order: Literal[1, 2]) -> NDArray[np.float32]:
    """The first or second derivative of `features` over time: float32 (frames, features), in their unit a frame (or a
    frame squared); the transpose of librosa's `delta(width=9, order=order, mode="interp")`.

    The four frames at each end take part in the first and the last fit, whose derivative is the same all along it.
    librosa refuses fewer frames than the width: here it shrinks then to the largest odd number that there are, and
    what has fewer than 3 frames does not change at all: zeros.
    """
    frames = len(features)
    width = min(WIDTH, frames - (frames + 1) % 2)
    if width < 3:
        return np.zeros_like(features)
    fits = np.lib.stride_tricks.sliding_window_view(features, width, axis=0) @ _make_weights(width, order)
    return np.pad(fits, ((width // 2, width // 2), (0, 0)), mode="edge").astype(np.float32)


def _make_weights(width: int, order: Literal[1, 2]) -> NDArray[np.float64]:
    """Of the frames in a fit, float64 (width,): their sum, so weighted, is its derivative."""
    places = np.arange(width, dtype=np.float64) - width // 2
    shape = places if order == 1 else places**2 - np.mean(places**2)
    weights: NDArray[np.float64] = order * shape / np.sum(shape**2)
    return weights
