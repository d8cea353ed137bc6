"""Store rows in files that give workers random access to single rows.

A row of the ingested table takes some 4 kB as a dict. So a driver keeps the columns that it decides by in arrays, and
workers read the others from a `RowFile` beside the outputs, by row number.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import Row, read_rows

if TYPE_CHECKING:
    import pyarrow as pa

READ_ROWS = 128
"""Rows that `RowFile.walk` reads at a time, 2 kB each for the cleaned table; each read costs another 0.5 ms."""


class StringTable:
    """Numbers strings, of which few are distinct, in the order of their first appearance."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, values: Sequence[str | None]) -> NDArray[np.int32]:
        """Return the number of each value; -1 for None."""
        for value in dict.fromkeys(values):
            if value is not None and value not in self._numbers:
                self._numbers[value] = len(self.names)
                self.names.append(value)
        return np.array([-1 if value is None else self._numbers[value] for value in values], np.int32)


class RowFileWriter:
    """Writes batches to a `RowFile`. A context manager."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._columns = list(columns)
        self._writer: Any = None

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append the rows of a batch, with the columns of the file."""
        import pyarrow as pa

        chosen = batch.select(self._columns)
        if self._writer is None:
            self._writer = pa.ipc.new_file(str(self._path), chosen.schema)
        self._writer.write_batch(chosen)

    def __enter__(self) -> "RowFileWriter":
        return self

    def __exit__(self, *error: object) -> None:
        if self._writer is not None:
            self._writer.close()


class RowFile:
    """Reads rows by their numbers from a memory-mapped, uncompressed Arrow file."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches = [self._file.get_batch(number) for number in range(self._file.num_record_batches)]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])[:-1]

    def read(self, numbers: Sequence[int] | NDArray[Any]) -> list[Row]:
        """Return the rows with these numbers, in this order."""
        return read_rows(self.take(numbers))

    def walk(self, numbers: Sequence[int] | NDArray[Any]) -> Iterator[Row]:
        """Yield the rows with these numbers, with at most `READ_ROWS` of them in memory."""
        for start in range(0, len(numbers), READ_ROWS):
            yield from self.read(numbers[start : start + READ_ROWS])

    def take(self, numbers: Sequence[int] | NDArray[Any]) -> "pa.Table":
        """Return the rows with these numbers as a table."""
        import pyarrow as pa

        rows = np.asarray(numbers, np.int64)
        batches = np.searchsorted(self._starts, rows, "right") - 1
        order = np.argsort(batches, kind="stable")
        parts = [
            self._batches[number].take(pa.array(rows[batches == number] - self._starts[number]))
            for number in np.unique(batches).tolist()
        ]
        rank = np.empty(len(order), np.int64)
        rank[order] = np.arange(len(order))
        return pa.Table.from_batches(parts, schema=self._file.schema).take(pa.array(rank))


def open_row_file(path: Path) -> RowFile:
    """Open the file at `path`, once in a process. (Workers of a cluster outlive a run, and see the next run's file.)"""
    status = path.stat()
    return _open_once(path, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _open_once(path: Path, inode: int, changed: int) -> RowFile:
    return RowFile(path)
