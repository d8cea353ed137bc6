"""Looks for rows in tables of any size: first in the columns that are asked about, then whole rows where they match."""

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
"""Rows that one look brings; more are counted. They are for people to read."""


@dataclass(frozen=True)
class ScanResult:
    """The first rows that match, in the order of the table, and how many there are in all."""

    rows: Sequence[Row] = ()
    count: int = 0


@dataclass(frozen=True)
class RowFilter:
    """Which rows are looked for: a mask over a batch that has these columns."""

    columns: tuple[str, ...]
    mask: "Callable[[pa.RecordBatch], Any]"


def match_any(wanted: Mapping[str, Collection[str]]) -> RowFilter:
    """Rows that have one of the wanted values in any of these columns."""
    columns = tuple(column for column, values in wanted.items() if values)

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.array(np.zeros(batch.num_rows, bool))
        for column in columns:
            found = pc.or_(
                found, pc.is_in(batch.column(column), value_set=pa.array(sorted(wanted[column]), pa.string()))
            )
        return found

    return RowFilter(columns, mask)


def match_all(wanted: Mapping[str, str]) -> RowFilter:
    """Rows that have in each of these columns the value that is wanted there."""

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        found = pa.array(np.ones(batch.num_rows, bool))
        for column, value in wanted.items():
            found = pc.and_(found, pc.equal(batch.column(column), value))
        return found

    return RowFilter(tuple(wanted), mask)


def match_part(column: str, part: str, at_end: bool = False) -> RowFilter:
    """Rows whose value in the column has `part` in it, or at its end."""

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow.compute as pc

        match = pc.ends_with if at_end else pc.match_substring
        return match(batch.column(column), pattern=part)

    return RowFilter((column,), mask)


def find_rows(path: Path, columns: Columns, look: RowFilter, limit: int = MAX_HITS) -> ScanResult:
    """The rows that are looked for. Memory: a batch of the table's, and `limit` rows.

    Raises:
        InputError: the table is missing, damaged, or has other columns.
    """
    if not look.columns:
        return ScanResult()
    places: list[int] = []
    start = count = 0
    for batch in read_batches(path, columns, look.columns):
        found = np.flatnonzero(look.mask(batch).fill_null(False).to_numpy(zero_copy_only=False))
        places += (found[: limit - len(places)] + start).tolist()
        count += len(found)
        start += batch.num_rows
    return ScanResult(read_rows(path, columns, places), count)


def find_groups(path: Path, columns: Columns, column: str, values: Set[str]) -> dict[str, ScanResult]:
    """The rows that have one of these values in a column, by the value; of each value the first `MAX_HITS`.

    Raises:
        InputError: the table is missing, damaged, or has other columns.
    """
    places: dict[str, list[int]] = {value: [] for value in values}
    counts, start = Counter[str](), 0
    look = match_any({column: values})
    for batch in read_batches(path, columns, look.columns) if values else ():
        names = batch.column(column)
        for row in np.flatnonzero(look.mask(batch).to_numpy(zero_copy_only=False)).tolist():
            value = names[row].as_py()
            counts[value] += 1
            if counts[value] <= MAX_HITS:
                places[value].append(start + row)
        start += batch.num_rows
    rows = read_rows(path, columns, [place for each in places.values() for place in each])
    return {value: ScanResult([row for row in rows if row[column] == value], counts[value]) for value in values}
