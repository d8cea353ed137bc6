"""Cut a list of files into ranges, a task each, by the list alone: then no result depends on the number of workers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


CUT = "cut"
"""A column with 32 bits of a hash of a file's name, which the ranges do not have any more."""

CUTS = 3
"""Where there is such a column, ranges end at certain names, so that a new file changes the range that it is in and few
others: on average after a third of the files or bytes that they may have. So 19 of 20 end there, not at a limit."""


def cut_ranges(batches: "Iterator[pa.RecordBatch]", files: int, size: int) -> "Iterator[pa.RecordBatch]":
    """Yield the rows of each range: at most so many `files`, and files of at most `size` bytes together, by the column
    `size`, but at least one."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        rows = pa.Table.from_batches(waiting)
        while (count := _count_next(rows, files, size)) < rows.num_rows:
            yield _join(rows.slice(0, count))
            rows = rows.slice(count)
        waiting = rows.to_batches()
    if waiting:
        yield _join(pa.Table.from_batches(waiting))


def _count_next(rows: "pa.Table", files: int, size: int) -> int:
    """Return how many files the next range has: to the first whose name ends it, or as many as fit."""
    sizes: NDArray[np.int64] = rows["size"].slice(0, files).to_numpy()
    most = max(1, int(np.searchsorted(np.cumsum(sizes), size, "right")))
    if CUT not in rows.schema.names:
        return most
    chances = CUTS * np.maximum(1 / files, sizes[:most] / size)
    ends = np.flatnonzero(rows[CUT].slice(0, most).to_numpy() < chances * 2**32)
    return int(ends[0]) + 1 if len(ends) else most


def _join(rows: "pa.Table") -> "pa.RecordBatch":
    kept = rows.select([name for name in rows.schema.names if name != CUT])
    (batch,) = kept.combine_chunks().to_batches()
    return batch
