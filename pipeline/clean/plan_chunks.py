"""Divide items into the chunks that share a tar: by their number and size alone, so that any number of workers writes
the same files."""

from collections.abc import Sequence
from itertools import pairwise

MAX_ITEMS = 256
MAX_BYTES = 64 << 20


def find_starts(sizes: Sequence[int], max_items: int, max_bytes: int) -> list[int]:
    """Return the starts of runs of at most `max_items` items and `max_bytes` bytes; a larger item is a run alone."""
    starts: list[int] = []
    count = total = 0
    for number, size in enumerate(sizes):
        if not starts or count == max_items or total + size > max_bytes:
            starts.append(number)
            count = total = 0
        count += 1
        total += size
    return starts


def plan_chunks(sizes: Sequence[int]) -> list[slice]:
    """Divide items of these sizes, in their order, into the runs that share a tar."""
    starts = find_starts(sizes, MAX_ITEMS, MAX_BYTES)
    return [slice(start, end) for start, end in pairwise([*starts, len(sizes)])]
