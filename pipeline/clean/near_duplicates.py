"""Find near-duplicates: items whose perceptual hashes differ in few bits and whose thumbnails differ little.

Comparing all pairs would be quadratic. Three observations make it nearly linear, and miss no pair:

- Items with the same bits and thumbnail are compared once.
- Of `near_bits + 1` bands of the 64 bits, two hashes that differ in `near_bits` places agree in one whole band (the
  pigeonhole principle; Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", 2007).
- If the differences of all cells add up to d, then a sum of the cells with any signs differs by at most d.

So items are sorted by a band and then by such a sum, and each is compared with those that follow it while the band is
the same and the sum within reach: first the bits, then the cells in groups of 16, then the cells.
"""

import hashlib
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from pipeline.modalities.perceptual_hash import MIN_CONTRAST, find_contrast
from pipeline.tables.connected_components import Indexes, find_components

Thumbnails = np.ndarray[Any, np.dtype[np.uint8]]

MIDDLE = 128
CONTRAST = 32  # standard deviation: four of them reach from the middle to the ends

NORMALIZE_BATCH = 4096  # thumbnails at a time: 8 MiB of each array of float64


def normalize_thumbnails(thumbnails: Thumbnails, indexes: Indexes | None = None) -> Thumbnails:
    """Return thumbnails, uint8 (n, cells), with a mean of 128 and a standard deviation of 32 levels, clipped to 0..255.

    Only those at `indexes`, if given: so a file larger than memory is read in part. Sums are integers, so the result is
    the same on every machine. With no cells, nothing is done.
    """
    count = len(thumbnails) if indexes is None else len(indexes)
    normalized = np.empty((count, thumbnails.shape[1]), np.uint8)
    if normalized.size:
        for start in range(0, count, NORMALIZE_BATCH):
            part = slice(start, start + NORMALIZE_BATCH)
            normalized[part] = _normalize(thumbnails[part if indexes is None else indexes[part]])
    return normalized


def _normalize(thumbnails: Thumbnails) -> Thumbnails:
    levels = thumbnails.astype(np.int64)
    means = levels.sum(axis=1, keepdims=True) / thumbnails.shape[1]
    scale = CONTRAST / np.maximum(find_contrast(thumbnails), MIN_CONTRAST)
    normalized: Thumbnails = np.clip(np.rint((levels - means) * scale[:, None] + MIDDLE), 0, 255).astype(np.uint8)
    return normalized


Bits = np.ndarray[Any, np.dtype[np.uint64]]
Stripes = np.ndarray[Any, np.dtype[np.uint16]]

HALF_WAVES = (1, 2, 4, 32)  # none, one and two from top to bottom, and one from left to right of 16 x 16 cells

STRIPE = 16  # cells

PAIR_BATCH = 16_384  # pairs whose thumbnails are compared at a time: 4 MiB for each of the two


def find_near_clusters(bits: Bits, thumbnails: Thumbnails, near_bits: int, near_difference: float) -> Indexes:
    """Return for each item the smallest index of the items that it is near to, directly or through others.

    Exact: the same clusters as comparing all pairs.

    Args:
        bits: uint64 (n,).
        thumbnails: uint8 (n, cells); cells may be 0, then the bits alone decide.
        near_bits: how many of the 64 bits of two near items may differ.
        near_difference: how many levels of 256 their thumbnails may differ, on average over the cells.
    """
    first, looks = _find_looks(bits, thumbnails)
    clusters = _join_near(bits, thumbnails, first, Reach(near_bits, near_difference))
    return first[clusters][looks]


class Reach(NamedTuple):
    """The largest distance of near items: bits of 64, and levels a cell on average."""

    bits: int
    difference: float


def _find_looks(bits: Bits, thumbnails: Thumbnails) -> tuple[Indexes, Indexes]:
    """Return the first item of each look (bits and thumbnail) in order of appearance, and the look of each item.

    Looks are compared by a hash of 128 bits: sorting them would hold all thumbnails in memory, twice.
    """
    hashes = np.empty(len(bits), "S16")
    for number, item_bits in enumerate(bits.tolist()):
        look = item_bits.to_bytes(8, "little") + thumbnails[number].tobytes()
        hashes[number] = hashlib.blake2b(look, digest_size=16).digest()
    _, first, looks = np.unique(hashes, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return first[order], rank[looks]


def _join_near(bits: Bits, thumbnails: Thumbnails, first: Indexes, near: Reach) -> Indexes:
    """Return the clusters of the items `first`, as indexes into it."""
    count, bits = len(first), bits[first]
    reach = int(near.difference * thumbnails.shape[1])  # sums are integers, so rounding down changes nothing
    stripes, sums = _sum_stripes(thumbnails)[first], _sum_widely(thumbnails)[first]
    root = np.arange(count, dtype=np.int64)
    for band in _split_bands(bits, near.bits + 1):
        order = np.lexsort((sums, band))
        for left, right in _walk_windows(band[order], sums[order], reach):
            pairs = order[left], order[right]
            pairs = _select(pairs, root[pairs[0]] != root[pairs[1]])
            pairs = _select(pairs, np.bitwise_count(bits[pairs[0]] ^ bits[pairs[1]]) <= near.bits)
            pairs = _select(pairs, _sum_differences(stripes, *pairs) <= reach)
            pairs = _select(pairs, _sum_differences(thumbnails, first[pairs[0]], first[pairs[1]]) <= reach)
            if len(pairs[0]):
                root = find_components(count, root[pairs[0]], root[pairs[1]])[root]
    return root


def _sum_stripes(thumbnails: Thumbnails) -> Stripes:
    """Return sums over every 16 cells: they differ by no more than the cells do, and are fewer to compare."""
    starts = np.arange(0, thumbnails.shape[1], STRIPE)
    return np.add.reduceat(thumbnails, starts, axis=1, dtype=np.uint16) if len(starts) else thumbnails.astype(np.uint16)


def _sum_widely(thumbnails: Thumbnails) -> Indexes:
    """Sum each thumbnail's cells with the signs of a square wave: of a few waves the one that separates items best.
    (Equal signs separate nothing where all thumbnails have one brightness.)"""
    cells = np.arange(thumbnails.shape[1])
    odd = np.stack([cells * halves // max(len(cells), 1) % 2 == 1 for halves in HALF_WAVES])
    signs = np.where(odd, -1, 1).T.astype(np.float32)  # sums of a few hundred bytes: exact
    sums = np.empty((len(HALF_WAVES), len(thumbnails)), np.int64)
    for start in range(0, len(thumbnails), PAIR_BATCH):
        part = thumbnails[start : start + PAIR_BATCH].astype(np.float32)
        sums[:, start : start + PAIR_BATCH] = (part @ signs).T
    return max(sums, key=lambda each: float(each.std()) if len(each) else 0.0)


def _select(pairs: tuple[Indexes, Indexes], chosen: np.ndarray[Any, np.dtype[np.bool_]]) -> tuple[Indexes, Indexes]:
    return pairs[0][chosen], pairs[1][chosen]


def _split_bands(bits: Bits, count: int) -> Iterator[Bits]:
    """Split the 64 bits into `count` bands of nearly equal width; beyond 64 some are empty, and equal everywhere."""
    edges = [64 * number // count for number in range(count + 1)]
    for low, high in pairwise(edges):
        yield (bits >> np.uint64(low)) & np.uint64((1 << (high - low)) - 1) if high > low else np.zeros_like(bits)


def _walk_windows(band: Bits, sums: Indexes, reach: int) -> Iterator[tuple[Indexes, Indexes]]:
    """Yield pairs of indexes into the sorted arrays with the same band and sums within reach, by rising distance."""
    left = np.arange(len(band), dtype=np.int64)
    distance = 1
    while len(left := left[left < len(band) - distance]):
        right = left + distance
        left = left[(band[left] == band[right]) & (sums[right] - sums[left] <= reach)]
        yield left, left + distance
        distance += 1


def _sum_differences(values: Thumbnails | Stripes, left: Indexes, right: Indexes) -> Indexes:
    """Return for each pair the sum of absolute differences between its two rows of `values`."""
    total = np.empty(len(left), dtype=np.int64)
    for start in range(0, len(left), PAIR_BATCH):
        one, other = values[left[start : start + PAIR_BATCH]], values[right[start : start + PAIR_BATCH]]
        total[start : start + PAIR_BATCH] = (np.maximum(one, other) - np.minimum(one, other)).sum(
            axis=1, dtype=np.int64
        )
    return total
