"""How the cleaned bytes are cut into tars: runs of neighbouring items, by their number and size alone, so that any
number of workers gives the same files."""

from collections.abc import Sequence
from itertools import pairwise

MAX_ITEMS = 256
MAX_BYTES = 64 << 20


def find_starts(sizes: Sequence[int], most: int, most_bytes: int) -> list[int]:
    """Where runs of items of these sizes start that have at most so many items and bytes, or one larger item."""
    starts: list[int] = []
    count = total = 0
    for number, size in enumerate(sizes):
        if not starts or count == most or total + size > most_bytes:
            starts.append(number)
            count = total = 0
        count += 1
        total += size
    return starts


def plan_chunks(sizes: Sequence[int]) -> list[slice]:
    """Items of these sizes, in their order, cut into the runs that share a tar."""
    starts = find_starts(sizes, MAX_ITEMS, MAX_BYTES)
    return [slice(start, end) for start, end in pairwise([*starts, len(sizes)])]
