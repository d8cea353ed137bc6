"""Find near-duplicates: items whose perceptual hashes differ in few bits and whose thumbnails differ little.

Comparing all pairs would be quadratic. Three observations make it nearly linear, and miss no pair:

- Items with the same bits and thumbnail are compared once (`pipeline.clean.equal_rows`).
- Two hashes that differ in few bits agree in whole blocks of them (`pipeline.clean.bit_tables`).
- If the differences of all cells add up to d, then a sum of the cells with any signs differs by at most d.

So items are sorted by some blocks and then by such a sum, and each is compared with those that follow it while the
blocks are the same and the sum within reach: first the bits, then a few sums, then the cells.
"""

from typing import Any, NamedTuple

import numpy as np

from pipeline.clean.bit_tables import Bits, Hashes, Pairs, cut_levels, find_near_bits
from pipeline.clean.equal_rows import find_equal_rows
from pipeline.modalities.perceptual_hash import MIN_CONTRAST, find_contrast
from pipeline.tables.connected_components import Indexes, find_roots, join_components

Thumbnails = np.ndarray[Any, np.dtype[np.uint8]]

MIDDLE = 128
CONTRAST = 32  # standard deviation: four of them reach from the middle to the ends

NORMALIZE_BATCH = 512  # thumbnails at a time: 1 MiB of float64, which stays in the cache


def normalize_thumbnails(
    thumbnails: Thumbnails, indexes: Indexes | None = None, out: Thumbnails | None = None
) -> Thumbnails:
    """Return thumbnails, uint8 (n, cells), with a mean of 128 and a standard deviation of 32 levels, clipped to 0..255.

    Only those at `indexes`, if given: so a file larger than memory is read in part; into `out`, if given. Sums are
    integers, so the result is the same on every machine. With no cells, nothing is done.
    """
    count = len(thumbnails) if indexes is None else len(indexes)
    normalized = np.empty((count, thumbnails.shape[1]), np.uint8) if out is None else out
    if normalized.size:
        for start in range(0, count, NORMALIZE_BATCH):
            part = slice(start, start + NORMALIZE_BATCH)
            normalized[part] = _normalize(thumbnails[part if indexes is None else indexes[part]])
    return normalized


def _normalize(thumbnails: Thumbnails) -> Thumbnails:
    levels = thumbnails.astype(np.float64)
    levels -= thumbnails.sum(axis=1, keepdims=True, dtype=np.int64) / thumbnails.shape[1]
    levels *= (CONTRAST / np.maximum(find_contrast(thumbnails), MIN_CONTRAST))[:, None]
    levels += MIDDLE
    np.rint(levels, out=levels)
    np.clip(levels, 0, 255, out=levels)
    normalized: Thumbnails = levels.astype(np.uint8)
    return normalized


Sums = np.ndarray[Any, np.dtype[np.int16 | np.int32]]

WAVES = (2, 4, 32, 64)  # halves: one and two waves from top to bottom, and from left to right, of 16 × 16 cells

BATCH = 16_384  # thumbnails, or pairs of them, at a time: 4 MiB


class Reach(NamedTuple):
    """The largest distance of near items: bits of 64, and levels summed over all cells."""

    bits: int
    levels: int


def find_near_clusters(bits: Bits, thumbnails: Thumbnails, near_bits: int, near_difference: float) -> Indexes:
    """Return for each item the smallest index of the items that it is near to, directly or through others.

    Exact: the same clusters as comparing all pairs.

    Args:
        bits: uint64 (n,).
        thumbnails: uint8 (n, cells); cells may be 0, then the bits alone decide.
        near_bits: how many of the 64 bits of two near items may differ.
        near_difference: how many levels of 256 their thumbnails may differ, on average over the cells.
    """
    levels = int(near_difference * thumbnails.shape[1])  # sums are integers: rounded down it is exact
    forest = find_equal_rows(bits, thumbnails)
    items = np.flatnonzero(forest == np.arange(len(bits)))
    if near_bits or thumbnails.shape[1]:
        _join_near(bits, thumbnails, items, Reach(near_bits, levels), forest)
    return find_roots(forest, forest)


def _join_near(bits: Bits, thumbnails: Thumbnails, items: Indexes, near: Reach, forest: Indexes) -> None:
    """Join all near pairs of `items` in `forest`.

    Of the pairs of one item the first is compared before the others: of a group in which all are near, each is then
    joined to the next, and the other pairs need no comparison.
    """
    sums = _sum_waves(thumbnails)
    widest = max(sums.T, key=lambda wave: float(wave.std()) if len(wave) else 0.0)
    levels, reach = cut_levels(widest, near.levels)
    for found in find_near_bits(Hashes(bits, levels, near.bits, reach), items, forest):
        leads = np.diff(found[0], prepend=-1) != 0
        for chosen in (leads, ~leads):
            pairs = _select(found, chosen)
            pairs = _select(pairs, find_roots(forest, pairs[0]) != find_roots(forest, pairs[1]))
            pairs = _select(pairs, _find_within_reach(sums, pairs, near.levels))
            pairs = _select(pairs, _sum_differences(thumbnails, *pairs) <= near.levels)
            join_components(forest, *pairs)


def _sum_waves(thumbnails: Thumbnails) -> Sums:
    """Return sums of each thumbnail's cells with the signs of a few square waves, (n, waves): they differ by no more
    than the cells do, and are fewer to compare."""
    cells = np.arange(thumbnails.shape[1])
    odd = np.stack([cells * halves // max(len(cells), 1) % 2 == 1 for halves in WAVES], axis=1)
    signs = np.where(odd, -1, 1).astype(np.float32)  # sums of a few hundred bytes: exact
    largest = 255 * max(odd.sum(axis=0).max(), (~odd).sum(axis=0).max())
    sums: Sums = np.empty((len(thumbnails), len(WAVES)), np.int16 if largest < 2**15 else np.int32)
    for start in range(0, len(thumbnails), BATCH):
        sums[start : start + BATCH] = thumbnails[start : start + BATCH].astype(np.float32) @ signs
    return sums


def _select(pairs: Pairs, chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> Pairs:
    return pairs[0][chosen], pairs[1][chosen]


def _find_within_reach(sums: Sums, pairs: Pairs, reach: int) -> np.ndarray[Any, np.dtype[np.bool_]]:
    left, right = (sums[each].astype(np.int32) for each in pairs)
    within: np.ndarray[Any, np.dtype[np.bool_]] = (np.abs(left - right) <= reach).all(axis=1)
    return within


def _sum_differences(thumbnails: Thumbnails, left: Indexes, right: Indexes) -> Indexes:
    """Return for each pair the sum of absolute differences between its two thumbnails."""
    total = np.empty(len(left), dtype=np.int64)
    for start in range(0, len(left), BATCH):
        one, other = thumbnails[left[start : start + BATCH]], thumbnails[right[start : start + BATCH]]
        total[start : start + BATCH] = (np.maximum(one, other) - np.minimum(one, other)).sum(axis=1, dtype=np.int64)
    return total
