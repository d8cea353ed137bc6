"""Cut a list of files into ranges, a task each, by the list alone: then no result depends on the number of workers."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def cut_ranges(batches: "Iterator[pa.RecordBatch]", files: int, size: int) -> "Iterator[pa.RecordBatch]":
    """Yield the rows of each range: at most so many `files`, and files of at most `size` bytes together, by the column
    `size`, but at least one."""
    import pyarrow as pa

    waiting: list[pa.RecordBatch] = []
    for batch in batches:
        waiting.append(batch)
        rows = pa.Table.from_batches(waiting)
        while (count := _count_next(rows["size"].to_numpy(), files, size)) < rows.num_rows:
            yield _join(rows.slice(0, count))
            rows = rows.slice(count)
        waiting = rows.to_batches()
    if waiting:
        yield _join(pa.Table.from_batches(waiting))


def _count_next(sizes: "np.ndarray[Any, np.dtype[np.int64]]", files: int, size: int) -> int:
    sums = np.cumsum(sizes[:files])
    return max(1, int(np.searchsorted(sums, size, "right")))


def _join(rows: "pa.Table") -> "pa.RecordBatch":
    (batch,) = rows.combine_chunks().to_batches()
    return batch
