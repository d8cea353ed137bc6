"""Read tables in batches, and store their rows in files that give random access to single rows.

A row of the cleaned table takes some 4 kB as a dict. So a driver keeps the columns that it decides by in arrays, and
workers read the others from a `RowFile` beside the outputs, by row number.
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
"""Rows of a batch: some 8 MB of the cleaned table. Taking a shard's rows is twice as fast from few batches."""

READ_ROWS = 128
"""Rows that `RowFile.walk` reads at a time, 2 kB each for the cleaned table; each read costs another 0.5 ms."""

BUFFER_BYTES = 1 << 16
"""Bytes of a column that are read at a time: without it whole row groups, 50,000 rows, are in memory."""


def read_batches(
    path: Path, columns: Columns, names: Sequence[str] | None = None, groups: Sequence[int] | None = None
) -> "Iterator[pa.RecordBatch]":
    """Yield a table that `pipeline.tables.parquet.write_table` wrote with the same columns, in batches.

    Args:
        names: the columns to read; all by default.
        groups: the row groups to read; all by default.

    Raises:
        InputError: the file is missing, damaged, or has other columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with _explain_faults(path), pq.ParquetFile(path, buffer_size=BUFFER_BYTES, page_checksum_verification=True) as file:
        if not file.schema_arrow.equals(build_schema(columns)):
            raise InputError(f"{path} has other columns than this version writes: run `dvc repro` again")
        chosen = None if names is None else list(names)
        batches = file.iter_batches(BATCH_ROWS, row_groups=groups, columns=chosen, use_threads=False)
        while True:
            try:
                batch = next(batches, None)
            except (OSError, pa.ArrowException) as error:
                raise InputError(_describe_damage(path)) from error
            if batch is None:
                release_arrow_memory()
                return
            yield batch


def release_arrow_memory() -> None:
    """Return the memory of tables that are no longer used to the system; Arrow keeps it otherwise."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()


def count_rows(path: Path) -> int:
    """Return the number of rows of a table, from its footer.

    Raises:
        InputError: the file is missing or damaged.
    """
    return sum(count_group_rows(path))


def count_group_rows(path: Path) -> list[int]:
    """Return the number of rows of each row group of a table, from its footer.

    Raises:
        InputError: the file is missing or damaged.
    """
    import pyarrow.parquet as pq

    with _explain_faults(path):
        footer = pq.read_metadata(path)
        return [int(footer.row_group(number).num_rows) for number in range(footer.num_row_groups)]


def read_rows(path: Path, columns: Columns, numbers: Sequence[int]) -> list[Row]:
    """Return the rows with these numbers, in the order of the table. Only their row groups are read.

    Raises:
        InputError: the file is missing, damaged, or has other columns.
    """
    rows: list[Row] = []
    edges = np.cumsum([0, *count_group_rows(path)])
    distinct = np.unique(np.asarray(numbers, np.int64))
    groups = np.searchsorted(edges, distinct, "right") - 1
    for group in np.unique(groups).tolist():
        start, in_group = edges[group], distinct[groups == group]
        for batch in read_batches(path, columns, groups=[group]):
            inside = in_group[(in_group >= start) & (in_group < start + batch.num_rows)] - start
            rows += batch.take(inside).to_pylist() if len(inside) else []
            start += batch.num_rows
    return rows


@contextmanager
def _explain_faults(path: Path) -> Iterator[None]:
    """Turn errors of opening a table into `InputError`. Errors while its batches are used are not the table's."""
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path} is missing: run the stage that writes it (`dvc repro`)") from None
    except (OSError, pa.ArrowException) as error:
        raise InputError(_describe_damage(path)) from error


def _describe_damage(path: Path) -> str:
    return f"{path} is damaged: remove it and run `dvc repro` again"


def read_strings(batch: "pa.RecordBatch", column: str) -> list[Any]:
    """Return the values of one column: strings, or None."""
    values: list[Any] = batch.column(column).to_pylist()
    return values


def pack_hex(batch: "pa.RecordBatch", column: str) -> NDArray[np.bytes_]:
    """Return a column of 64 hex digits as S32."""
    return np.frombuffer(bytes.fromhex("".join(read_strings(batch, column))), "S32")


def read_floats(batch: "pa.RecordBatch", column: str) -> NDArray[np.float64]:
    """Return a column of numbers, NaN for null."""
    values: NDArray[np.float64] = batch.column(column).cast("float64").fill_null(float("nan")).to_numpy()
    return values


class TableWriter:
    """Writes a table for `pipeline.tables.parquet.read_table` in batches. A context manager."""

    def __init__(self, path: Path, columns: Columns) -> None:
        import pyarrow.parquet as pq

        self._schema = build_schema(columns)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writer = pq.ParquetWriter(path, self._schema, **PARQUET)

    def write(self, columns: "Mapping[str, pa.Array]") -> None:
        """Append rows, given as all columns by name.

        Raises:
            ValueError: a column has a null that is not allowed.
            KeyError: a column is missing.
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
        rows: list[Row] = self.take(numbers).to_pylist()
        return rows

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
