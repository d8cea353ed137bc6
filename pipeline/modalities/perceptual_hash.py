"""Compute perceptual hashes: how alike two images or two recordings are, from 16 × 16 cells of each.

`pipeline.clean.near_duplicates` compares the cells by their mean difference, once they are brought to one brightness
and contrast; 63 signs of their lowest cosine terms find the pairs that are worth comparing. It is the perceptual hash
by DCT of Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions" (2010), section 3.2, over 16
cells a side instead of 32, and against a fixed threshold instead of the median: the terms of a symmetric or smooth
image lie at zero, where the least noise flips a sign.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.modality import PerceptualHash

SIDE = 16
TERMS = 8

_SHARE = 0.6
"""Of the contrast: no threshold exceeds it. On 796 photographs and 566 drawings with copies of each, as many copies are
found as with the thresholds alone, within 0.3 %, and no other pairs."""

MIN_CONTRAST = 1.0
"""Levels: below this the cells are even, and what contrast they have is rounding."""


Limits = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""From the contrasts of cells, (n,), what their 63 terms must exceed for a bit to be set: (n, 1) or (n, 63)."""


def compute_perceptual_hash(cells: NDArray[np.uint8], limits: Limits) -> PerceptualHash:
    """Return the perceptual hash of `cells`, uint8 (16, 16): grey levels, or energies over time and frequency."""
    return PerceptualHash(int(compute_bits(cells[None], limits)[0]), cells.tobytes())


def compute_bits(cells: NDArray[np.uint8], limits: Limits) -> NDArray[np.uint64]:
    """Return the bits of the perceptual hashes of `cells`, uint8 (n, 16, 16), as uint64 (n,).

    Bit i is set where cosine term i + 1 exceeds its limit (of orthonormal terms over cells of 0 to 255). The terms are
    those of the lowest 8 × 8 frequencies in row order. The constant term is left out, so a brighter copy has the same
    bits.
    """
    basis = _make_cosines(SIDE, TERMS)
    terms = (basis @ cells.astype(np.float64) @ basis.T).reshape(len(cells), -1)[:, 1:]
    contrasts = np.maximum(find_contrast(cells.reshape(len(cells), -1)), MIN_CONTRAST)
    signs = np.packbits(terms > limits(contrasts), axis=1, bitorder="little")
    bits: NDArray[np.uint64] = signs.view("<u8").astype(np.uint64)[:, 0]
    return bits


def cap_threshold(threshold: float) -> Limits:
    """Return `threshold` for all terms, or `_SHARE` of the contrast if that is less: items of little contrast would all
    have the same bits, none, and every pair of them would have to be compared."""
    return lambda contrasts: np.minimum(threshold, _SHARE * contrasts)[:, None]


def find_contrast(levels: NDArray[np.uint8]) -> Any:
    """Return the standard deviation over the last axis, float64 in levels; by integer sums: equal on every machine."""
    whole, count = levels.astype(np.int64), levels.shape[-1]
    return np.sqrt(count * np.vecdot(whole, whole) - whole.sum(axis=-1) ** 2) / count


@cache
def _make_cosines(size: int, terms: int) -> NDArray[np.float64]:
    """The first `terms` rows of the orthonormal DCT-II of `size` points: float64 (terms, size), read-only.

    A matrix is faster than an FFT of all terms where few are used.
    """
    points = np.arange(size) + 0.5
    rows: NDArray[np.float64] = np.cos(np.pi / size * np.outer(np.arange(terms), points)) * np.sqrt(2 / size)
    rows[0] /= np.sqrt(2)
    rows.setflags(write=False)
    return rows
