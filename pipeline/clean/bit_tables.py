"""Find pairs of hashes of 64 bits that differ in few bits, by sorting.

If the bits are dealt to more blocks than may differ in, two near hashes agree in all the others (the pigeonhole
principle; Manku, Jain and Das Sarma, "Detecting near-duplicates for web crawling", 2007). So for every choice of that
many blocks there is a table of all hashes sorted by them, in which the near ones stand beside each other. More blocks
mean more tables with fewer pairs in each.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clean.equal_rows import make_index_mask, mix_bits
from pipeline.tables.connected_components import Indexes, find_roots

Bits = np.ndarray[Any, np.dtype[np.uint64]]
Pairs = tuple[Indexes, Indexes]

WIDTH = 64
MAX_TABLES = 128
SPARE_BLOCKS = 4  # at most, beyond those that may differ

SAMPLE = 1 << 16  # items
ROW_SECONDS, PAIR_SECONDS = 60e-9, 25e-9  # of a table, and of a pair in it; on a core of an EPYC

LEVELS = 255  # of the sums by which a table is sorted
LEVEL_BITS = np.uint64(9)  # one more than they need: so the levels of different hashes are never near

ROWS = 1 << 20  # of a table at a time
PAIRS = 1 << 20  # at a time, or all of one row
CROWDED = 4  # pairs a row


@dataclass(frozen=True)
class Hashes:
    """What items are compared by.

    Attributes:
        bits: uint64 (n,).
        levels: a sum of each item, cut into levels, uint8 (n,).
        near_bits: how many bits of two near items may differ.
        reach: by how much their levels may.
    """

    bits: Bits
    levels: NDArray[np.uint8]
    near_bits: int
    reach: int


def cut_levels(sums: NDArray[Any], reach: int) -> tuple[NDArray[np.uint8], int]:
    """Cut sums (n,) into 255 levels of one width; return them, and by how much those of two items may differ whose sums
    differ by at most `reach`."""
    low, high = (int(sums.min()), int(sums.max())) if len(sums) else (0, 0)
    width = (high - low) // LEVELS + 1
    return ((sums.astype(np.int64) - low) // width).astype(np.uint8), min(-(-reach // width), LEVELS)


def find_near_bits(hashes: Hashes, items: Indexes, forest: Indexes) -> Iterator[Pairs]:
    """Yield all pairs of `items`, int64 (m,), that are near by their bits and levels, each pair once.

    Pairs that are connected in `forest` may be left out. So the caller should join those that it finds near: where many
    items are near one another, most pairs are never made.
    """
    masks = plan_tables(hashes)
    for number, mask in enumerate(masks):
        for one, other in _walk_table(make_table(hashes, items, mask), hashes.reach, forest):
            different = hashes.bits[one] ^ hashes.bits[other]
            near = np.flatnonzero(np.bitwise_count(different) <= hashes.near_bits)
            for earlier in masks[:number]:
                near = near[different[near] & np.uint64(earlier) != 0]  # else that table had the pair
            yield one[near], other[near]


def plan_tables(hashes: Hashes) -> list[int]:
    """Return the masks of the bits that each table is sorted by: with as many blocks as take least time, by an estimate
    from every k-th item. With any number of blocks the same pairs are found."""
    if hashes.near_bits >= WIDTH:
        return [0]
    step = max(1, -(-len(hashes.bits) // SAMPLE))
    sample = Hashes(hashes.bits[::step], hashes.levels[::step], hashes.near_bits, hashes.reach)
    plans: list[tuple[float, list[int]]] = []
    for blocks in range(hashes.near_bits + 1, min(hashes.near_bits + SPARE_BLOCKS, WIDTH) + 1):
        masks = choose_masks(sample, blocks)
        if plans and len(masks) > MAX_TABLES:
            break
        pairs = sum(_count_pairs(sample, mask) for mask in masks)
        plans.append((len(masks) * len(hashes.bits) * ROW_SECONDS + pairs * step**2 * PAIR_SECONDS, masks))
    return min(plans, key=lambda plan: plan[0])[1]


def choose_masks(hashes: Hashes, blocks: int) -> list[int]:
    """Deal the bits to blocks, and return the masks of all choices of as many as near items surely agree in.

    Bits that split the items evenly are dealt first, to and fro, so that each block gets good ones.
    """
    shares = [np.count_nonzero(hashes.bits & np.uint64(1 << bit)) / max(len(hashes.bits), 1) for bit in range(WIDTH)]
    dealt = [0] * blocks
    for place, bit in enumerate(sorted(range(WIDTH), key=lambda bit: abs(shares[bit] - 0.5))):
        turn, block = divmod(place, blocks)
        dealt[blocks - 1 - block if turn % 2 else block] |= 1 << bit
    return [reduce(int.__or__, chosen) for chosen in combinations(dealt, blocks - hashes.near_bits)]


@dataclass(frozen=True)
class Table:
    """Items sorted by some of their bits and then by level: hashes of the bits, levels and indexes, in uint64 (n,)."""

    keys: Bits
    index_mask: np.uint64

    def find_windows(self, rows: slice, reach: int) -> Pairs:
        """Return those of `rows` that others with the same hash and a level within reach follow, and where they end."""
        one, index_bits = np.uint64(1), np.bitwise_count(self.index_mask).astype(np.uint64)
        places = self.keys[rows.start : rows.stop + 1] >> index_bits
        left = np.flatnonzero(places[1:] - places[:-1] <= np.uint64(reach))
        left = left[left < rows.stop - rows.start]
        last = ((places[left] + np.uint64(reach) + one) << index_bits) - one
        return left + rows.start, np.searchsorted(self.keys, last, "right")

    def read_items(self, rows: slice) -> Indexes:
        """Return the items in `rows`."""
        return (self.keys[rows] & self.index_mask).astype(np.int64)


def make_table(hashes: Hashes, items: Indexes, mask: int) -> Table:
    """Sort `items`, int64 (m,), by the bits in `mask`.

    Bits are hashed to as many as there is room for, 31 with 10 million items: two that have only the hash in common are
    one more pair to compare.
    """
    index_mask = make_index_mask(len(hashes.bits))
    index_bits = np.bitwise_count(index_mask).astype(np.uint64)
    keys = np.empty(len(items), np.uint64)
    for start in range(0, len(items), ROWS):
        part = items[start : start + ROWS]
        places = mix_bits(hashes.bits[part] & np.uint64(mask)) >> (index_bits + LEVEL_BITS) << LEVEL_BITS
        keys[start : start + ROWS] = (places | hashes.levels[part]) << index_bits | part.astype(np.uint64)
    keys.sort()
    return Table(keys, index_mask)


def _count_pairs(hashes: Hashes, mask: int) -> int:
    count = len(hashes.bits)
    rows, stops = make_table(hashes, np.arange(count), mask).find_windows(slice(0, count), hashes.reach)
    return int((stops - rows - 1).sum())


def _walk_table(table: Table, reach: int, forest: Indexes) -> Iterator[Pairs]:
    """Yield all pairs of items with the same hash and levels within reach, but for some that are connected."""
    for start in range(0, len(table.keys), ROWS):
        rows, stops = table.find_windows(slice(start, min(start + ROWS, len(table.keys))), reach)
        if len(rows):
            items = table.read_items(slice(start, int(stops[-1])))
            for left, right in _split_windows(rows - start, stops - start):
                span = slice(int(left[0]), int(right[-1]))
                if (right - left).sum() > CROWDED * (span.stop - span.start):
                    apart = _find_apart(find_roots(forest, items[span]), left - span.start, right - span.start)
                    left, right = left[apart], right[apart]
                one, other = _list_pairs(left, right)
                yield items[one], items[other]


def _split_windows(rows: Indexes, stops: Indexes) -> Iterator[Pairs]:
    """Split windows into parts that have some `PAIRS` pairs each."""
    counted = np.cumsum(stops - rows - 1)
    start, done = 0, 0
    while start < len(rows):
        end = max(start + 1, int(np.searchsorted(counted, done + PAIRS, "right")))
        yield rows[start:end], stops[start:end]
        start, done = end, int(counted[end - 1])


def _find_apart(roots: Indexes, rows: Indexes, stops: Indexes) -> NDArray[np.bool_]:
    """Return which rows have one with another root before their window stops."""
    changes = np.append(np.flatnonzero(roots[1:] != roots[:-1]) + 1, len(roots))
    apart: NDArray[np.bool_] = changes[np.searchsorted(changes, rows, "right")] < stops
    return apart


def _list_pairs(rows: Indexes, stops: Indexes) -> Pairs:
    """Return each row paired with all that follow it before its stop."""
    counts = stops - rows - 1
    before = np.cumsum(counts) - counts
    return np.repeat(rows, counts), np.arange(counts.sum()) + np.repeat(rows + 1 - before, counts)
