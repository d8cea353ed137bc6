"""The cosine transform as a matrix: what the few terms that are kept here need, faster than an FFT of all."""

from functools import cache

import numpy as np
from numpy.typing import NDArray


@cache
def make_cosines(size: int, terms: int) -> NDArray[np.float64]:
    """The first `terms` rows of the orthonormal DCT-II of `size` points: float64 (terms, size), read-only."""
    points = np.arange(size) + 0.5
    rows: NDArray[np.float64] = np.cos(np.pi / size * np.outer(np.arange(terms), points)) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    rows.setflags(write=False)
    return rows
