"""Search tables of any size for rows: scan only the columns of the condition, then read the rows that match."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.tables.parquet import Columns, Row
from pipeline.tables.row_files import read_batches, read_rows

if TYPE_CHECKING:
    import pyarrow as pa

MAX_HITS = 1000
"""Rows that one search returns; more are counted. They are for people to read."""


@dataclass(frozen=True)
class ScanResult:
    """The first rows that match, in the order of the table, and how many match in all."""

    rows: Sequence[Row] = ()
    count: int = 0


@dataclass(frozen=True)
class RowFilter:
    """A condition on rows: a mask over a batch that has these columns."""

    columns: tuple[str, ...]
    mask: "Callable[[pa.RecordBatch], Any]"


def match_any(requested: Mapping[str, Collection[str]]) -> RowFilter:
    """Match rows that have one of the requested values in any of these columns."""
    columns = tuple(column for column, values in requested.items() if values)

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.array(np.zeros(batch.num_rows, bool))
        for column in columns:
            found = pc.or_(
                found, pc.is_in(batch.column(column), value_set=pa.array(sorted(requested[column]), pa.string()))
            )
        return found

    return RowFilter(columns, mask)


def match_all(requested: Mapping[str, str]) -> RowFilter:
    """Match rows that have the requested value in each of these columns."""

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.array(np.ones(batch.num_rows, bool))
        for column, value in requested.items():
            found = pc.and_(found, pc.equal(batch.column(column), value))
        return found

    return RowFilter(tuple(requested), mask)


def match_substring(column: str, text: str, at_end: bool = False) -> RowFilter:
    """Match rows whose value in the column contains `text`, or ends with it."""

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow.compute as pc

        match = pc.ends_with if at_end else pc.match_substring
        return match(batch.column(column), pattern=text)

    return RowFilter((column,), mask)


def find_rows(path: Path, columns: Columns, condition: RowFilter, limit: int = MAX_HITS) -> ScanResult:
    """Return the rows that match. Needs the memory of a batch of the table and of `limit` rows.

    Raises:
        InputError: the table is missing, damaged, or has other columns.
    """
    if not condition.columns:
        return ScanResult()
    numbers: list[int] = []
    start = count = 0
    for batch in read_batches(path, columns, condition.columns):
        found = np.flatnonzero(condition.mask(batch).fill_null(False).to_numpy(zero_copy_only=False))
        numbers += (found[: limit - len(numbers)] + start).tolist()
        count += len(found)
        start += batch.num_rows
    return ScanResult(read_rows(path, columns, numbers), count)


def find_groups(path: Path, columns: Columns, column: str, values: Set[str]) -> dict[str, ScanResult]:
    """Return by value the rows that have this value in a column, of each value the first `MAX_HITS`.

    Raises:
        InputError: the table is missing, damaged, or has other columns.
    """
    numbers: dict[str, list[int]] = {value: [] for value in values}
    counts, start = Counter[str](), 0
    condition = match_any({column: values})
    for batch in read_batches(path, columns, condition.columns) if values else ():
        names = batch.column(column)
        for row in np.flatnonzero(condition.mask(batch).to_numpy(zero_copy_only=False)).tolist():
            value = names[row].as_py()
            counts[value] += 1
            if counts[value] <= MAX_HITS:
                numbers[value].append(start + row)
        start += batch.num_rows
    rows = read_rows(path, columns, [number for each in numbers.values() for number in each])
    return {value: ScanResult([row for row in rows if row[column] == value], counts[value]) for value in values}
