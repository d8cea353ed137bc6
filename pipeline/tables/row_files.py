"""Tables too large for a dict a row: read in batches, and kept on disk in a form that gives single rows at once.

A row of the cleaned table takes some 4 kB as a dict. A driver keeps what it decides by in arrays, and workers read the
rest from a `RowFile` beside the outputs, by row number.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.tables.parquet import PARQUET, Columns, Row, build_schema

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 16384
"""Some 8 MB of the cleaned table at a time. To take a shard's rows from few batches is twice as fast as from many."""

READ_ROWS = 128
"""Rows that are read at a time, 2 kB each of the cleaned table; a batch costs 0.5 ms of its own."""

BUFFER_BYTES = 1 << 16
"""Of a column, read at a time: without it whole row groups are in memory, 50,000 rows."""


def read_batches(
    path: Path, columns: Columns, wanted: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> "Iterator[pa.RecordBatch]":
    """A table that `pipeline.tables.parquet.write_table` wrote with the same columns, in its order, a batch at a time.

    Of the columns those that are `wanted`, or all; of the rows those in these row groups, or all.

    Raises:
        InputError: the file is missing, damaged, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _explain_faults(path), pq.ParquetFile(path, buffer_size=BUFFER_BYTES, page_checksum_verification=True) as file:
        if not file.schema_arrow.equals(build_schema(columns)):
            raise InputError(f"{path} has other columns than this version writes: run `dvc repro` again")
        names = None if wanted is None else list(wanted)
        batches = file.iter_batches(BATCH_ROWS, row_groups=groups, columns=names, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                raise InputError(_say_damaged(path)) from error
            if batch is None:
                release_arrow_memory()
                return
            yield batch


def release_arrow_memory() -> None:
    """Return to the system what tables took that are no longer in use; Arrow keeps it otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def count_rows(path: Path) -> int:
    """Rows of a table, by its footer.

    Raises:
        InputError: the file is missing or damaged.
    """
    return sum(count_group_rows(path))


def count_group_rows(path: Path) -> list[int]:
    """Rows of each row group of a table, by its footer.

    Raises:
        InputError: the file is missing or damaged.
    """
    import pyarrow.parquet as pq

    with _explain_faults(path):
        footer = pq.read_metadata(path)
        return [int(footer.row_group(number).num_rows) for number in range(footer.num_row_groups)]


def read_rows(path: Path, columns: Columns, numbers: Sequence[int]) -> list[Row]:
    """The rows of these numbers, in the order of the table; of the rest no more than their row groups is read.

    Raises:
        InputError: the file is missing, damaged, or has other columns.
    """
    rows: list[Row] = []
    edges = np.cumsum([0, *count_group_rows(path)])
    wanted = np.unique(np.asarray(numbers, np.int64))
    groups = np.searchsorted(edges, wanted, "right") - 1
    for group in np.unique(groups).tolist():
        start, places = edges[group], wanted[groups == group]
        for batch in read_batches(path, columns, groups=[group]):
            inside = places[(places >= start) & (places < start + batch.num_rows)] - start
            rows += batch.take(inside).to_pylist() if len(inside) else []
            start += batch.num_rows
    return rows


@contextmanager
def _explain_faults(path: Path) -> Iterator[None]:
    """Around the opening of a table; what is raised while its batches are used is not the table's."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run the stage that writes it (`dvc repro`)") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(_say_damaged(path)) from error


def _say_damaged(path: Path) -> str:
    return f"{path} is damaged: remove it and run `dvc repro` again"


def read_strings(batch: "pa.RecordBatch", column: str) -> list[Any]:
    """The values of one column: strings, or None."""
    values: list[Any] = batch.column(column).to_pylist()
    return values


def pack_hex(batch: "pa.RecordBatch", column: str) -> NDArray[np.bytes_]:
    """A column of 64 hex digits as S32."""
    return np.frombuffer(bytes.fromhex("".join(read_strings(batch, column))), "S32")


def read_floats(batch: "pa.RecordBatch", column: str) -> NDArray[np.float64]:
    """A column of numbers, NaN where there is none."""
    values: NDArray[np.float64] = batch.column(column).cast("float64").fill_null(float("nan")).to_numpy()
    return values


class TableWriter:
    """Writes a table that `pipeline.tables.parquet.read_table` reads, a batch at a time; a context manager."""

    def __init__(self, path: Path, columns: Columns) -> None:
        import pyarrow.parquet as pq

        self._schema = build_schema(columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, self._schema, **PARQUET)

    def write(self, columns: "Mapping[str, pa.Array]") -> None:
        """Append rows: all columns, by name.

        Raises:
            ValueError: a column is missing, or has a null where none may be.
        """
        import pyarrow as pa

        arrays = [columns[name] for name in self._schema.names]
        for field, array in zip(self._schema, arrays, strict=True):
            if array.null_count and not field.nullable:
                raise ValueError(f"column {field.name!r} may not be null")
        self._writer.write_table(pa.Table.from_arrays(arrays, schema=self._schema))

    def __enter__(self) -> "TableWriter":
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()


class StringTable:
    """Strings of which there are few different ones, as numbers in the order of their first appearance."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._numbers: dict[str, int] = {}

    def number(self, values: Sequence[str | None]) -> NDArray[np.int32]:
        """The number of each value; -1 for None."""
        for value in dict.fromkeys(values):
            if value is not None and value not in self._numbers:
                self._numbers[value] = len(self.names)
                self.names.append(value)
        return np.array([-1 if value is None else self._numbers[value] for value in values], np.int32)


class RowFileWriter:
    """Writes batches to a `RowFile`; a context manager."""

    def __init__(self, path: Path, columns: Sequence[str]) -> None:
        self._path = path
        self._columns = list(columns)
        self._writer: Any = None

    def write(self, batch: "pa.RecordBatch") -> None:
        """Append the rows of a batch; of its columns those of the file."""
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
    """Rows by their numbers, from a memory map of an uncompressed Arrow file."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa

        self._file = pa.ipc.open_file(pa.memory_map(str(path)))
        self._batches = [self._file.get_batch(number) for number in range(self._file.num_record_batches)]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])[:-1]

    def read(self, numbers: Sequence[int] | NDArray[Any]) -> list[Row]:
        """The rows of these numbers, in this order."""
        rows: list[Row] = self.take(numbers).to_pylist()
        return rows

    def walk(self, numbers: Sequence[int] | NDArray[Any]) -> Iterator[Row]:
        """The same one by one, without having more than `READ_ROWS` of them in memory."""
        for start in range(0, len(numbers), READ_ROWS):
            yield from self.read(numbers[start : start + READ_ROWS])

    def take(self, numbers: Sequence[int] | NDArray[Any]) -> "pa.Table":
        """The same as a table."""
        import pyarrow as pa

        wanted = np.asarray(numbers, np.int64)
        batches = np.searchsorted(self._starts, wanted, "right") - 1
        order = np.argsort(batches, kind="stable")
        parts = [
            self._batches[number].take(pa.array(wanted[batches == number] - self._starts[number]))
            for number in np.unique(batches).tolist()
        ]
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return pa.Table.from_batches(parts, schema=self._file.schema).take(pa.array(back))


def open_row_file(path: Path) -> RowFile:
    """The file at `path`, opened once a process. (A worker of a cluster outlives a run, and meets the next one's.)"""
    status = path.stat()
    return _open_once(path, status.st_ino, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _open_once(path: Path, inode: int, changed: int) -> RowFile:
    return RowFile(path)
