"""Search a table of any size for a few rows: read only the columns and row groups that may have them.

The statistics in the footers leave one or two row groups of a sorted column (ids, item numbers, URLs, keys of dropped
rows), and all of any other: 10⁶ names take 80 ms of one CPU, 10⁶ numbers 22 ms.
"""

import math
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import Columns, Row, build_schema, find_hashes, read_rows
from pipeline.tables.table_files import TablePart, list_parts, read_batches, read_part

if TYPE_CHECKING:
    import pyarrow as pa

RowNumbers = NDArray[np.int64]

Groups = tuple[TablePart, list[int]]
"""Some row groups of one part, by their numbers in it."""

NUMBER = "number"
"""The column of row numbers in the results of a search."""

TASK_GROUPS = 8
"""Row groups that a thread reads at a time: opening a part takes as long as reading a third of one."""

THREADS = min(4, os.cpu_count() or 1)


class TableSearch:
    """Searches one table, whose footers are read once.

    Raises:
        InputError: the table is missing, damaged, or has other columns; so do all methods.
    """

    def __init__(self, folder: Path, columns: Columns) -> None:
        import pyarrow.parquet as pq

        self.folder = folder
        self.columns = columns
        self._schema = build_schema(columns)
        self._parts = list_parts(folder, columns)
        self._footers = [pq.read_metadata(part.path) for part in self._parts]

    def find(self, column: str, values: Collection[str | int], groups: Sequence[Groups] | None = None) -> "pa.Table":
        """Return the rows with one of these values, with the columns `column` and `NUMBER`, in the order of the table.

        Hashes are given as 64 hex digits. `groups`: the row groups to search; by default those that may have a value.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        def mask(array: "pa.Array") -> "pa.Array":
            # For numbers nine times as fast as `is_in`, for strings twice.
            return pc.equal(array, wanted[0]) if len(wanted) == 1 else pc.is_in(array, value_set=wanted)

        hashed = column in find_hashes(self._schema)
        ordered = sorted({bytes.fromhex(str(value)) for value in values} if hashed else set(values))
        wanted = pa.array(ordered, self._schema.field(column).type)
        return self.search(column, mask, groups or self._list_groups(column, ordered))

    def search(
        self, column: str, mask: "Callable[[pa.Array], pa.Array]", groups: Sequence[Groups] | None = None
    ) -> "pa.Table":
        """Return the rows for which the mask over a column is true, as `find` does; null is not."""
        import pyarrow.compute as pc

        def choose(numbers: RowNumbers, batch: "pa.RecordBatch") -> RowNumbers:
            rows: RowNumbers = pc.indices_nonzero(mask(batch.column(0))).to_numpy().astype(np.int64)
            return rows

        tasks = [
            (part, numbers[at : at + TASK_GROUPS])
            for part, numbers in groups or self._list_groups(column)
            for at in range(0, len(numbers), TASK_GROUPS)
        ]
        return self._collect(tasks, [column], choose)

    def _list_groups(self, column: str, ordered: Sequence[Any] | None = None) -> list[Groups]:
        """Return all row groups, or those that may have one of the values, sorted, in a column."""
        index = list(self.columns).index(column)
        return [
            (part, [n for n in range(len(part.groups)) if ordered is None or _may_have(footer, n, index, ordered)])
            for part, footer in zip(self._parts, self._footers, strict=True)
        ]

    def order_groups(self, column: str, place: float) -> list[Groups]:
        """Return all row groups, one each, in the order of their distance from `place`, 0 to 1, among those with the
        same value of a column that the table is ordered by."""
        index = list(self.columns).index(column)
        spans: dict[Any, list[tuple[int, int]]] = defaultdict(list)
        for at, footer in enumerate(self._footers):
            for group in range(footer.num_row_groups):
                statistics = footer.row_group(group).column(index).statistics
                for value in {statistics.min, statistics.max} if statistics else {None}:
                    spans[value].append((at, group))
        far = sorted(
            (abs(number + 0.5 - place * len(span)), group)
            for span in spans.values()
            for number, group in enumerate(span)
        )
        return [(self._parts[at], [group]) for at, group in dict.fromkeys(group for _, group in far)]

    def take(self, numbers: RowNumbers, names: Sequence[str]) -> "pa.Table":
        """Return columns of the rows with these numbers, each once, in the order of the table, with `NUMBER`."""
        distinct = np.unique(numbers)

        def choose(present: RowNumbers, batch: "pa.RecordBatch") -> RowNumbers:
            return np.intersect1d(present, distinct, assume_unique=True, return_indices=True)[1]

        tasks = [(part, [group]) for part, groups in self._find_groups(distinct) for group in groups]
        return self._collect(tasks, names, choose, int(distinct[-1]) if len(distinct) else 0)

    def _collect(
        self,
        tasks: Sequence[Groups],
        names: Sequence[str],
        choose: "Callable[[RowNumbers, pa.RecordBatch], RowNumbers]",
        last: float = math.inf,
    ) -> "pa.Table":
        """Read columns of row groups up to the row `last`, by several threads; return the rows chosen of each batch."""
        import pyarrow as pa

        def read(task: Groups) -> "list[pa.Table]":
            return [
                pa.Table.from_batches([batch.take(rows)]).append_column(NUMBER, pa.array(numbers[rows]))
                for numbers, batch in _read_numbered(task, names, last)
                if len(rows := choose(numbers, batch))
            ]

        schema = pa.schema([*(self._schema.field(name) for name in names), pa.field(NUMBER, pa.int64())])
        if len(tasks) < 2:
            found = [read(task) for task in tasks]
        else:
            with ThreadPoolExecutor(THREADS) as threads:
                found = list(threads.map(read, tasks))
        return pa.concat_tables([schema.empty_table(), *chain.from_iterable(found)])

    def _find_groups(self, numbers: RowNumbers) -> list[Groups]:
        """Return the row groups that have the rows with these numbers."""
        found = []
        for part in self._parts:
            edges = part.first + np.cumsum([0, *part.groups])
            inside = numbers[(numbers >= edges[0]) & (numbers < edges[-1])]
            found.append((part, np.unique(np.searchsorted(edges, inside, "right") - 1).tolist()))
        return [(part, groups) for part, groups in found if groups]

    def select(self, numbers: RowNumbers, names: Sequence[str] | None = None) -> dict[int, Row]:
        """Return the rows with these numbers, by their number, in the order of the table."""
        rows = read_rows(self.take(numbers, list(self.columns) if names is None else names))
        return {row.pop(NUMBER): row for row in rows}

    def read(self, names: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield columns of the whole table in batches, with `NUMBER`."""
        import pyarrow as pa

        first = 0
        for batch in read_batches(self.folder, self.columns, names):
            yield batch.append_column(NUMBER, pa.array(np.arange(first, first + batch.num_rows)))
            first += batch.num_rows


def _may_have(footer: Any, group: int, column: int, ordered: Sequence[Any]) -> bool:
    """Return whether a row group may have one of the values in a column."""
    chunk = footer.row_group(group).column(column)
    if chunk.statistics is None or not chunk.statistics.has_min_max:
        return chunk.statistics is None or bool(chunk.statistics.null_count < chunk.num_values)
    at = bisect_left(ordered, chunk.statistics.min)
    return at < len(ordered) and bool(ordered[at] <= chunk.statistics.max)


def _read_numbered(task: Groups, names: Sequence[str], last: float) -> "Iterator[tuple[RowNumbers, pa.RecordBatch]]":
    """Yield batches with the numbers of their rows, up to the row `last`."""
    part, groups = task
    starts = part.first + np.cumsum([0, *part.groups])
    numbers = np.concatenate([np.arange(starts[group], starts[group + 1]) for group in groups])
    at = 0
    for batch in read_part(part.path, names, groups):
        yield numbers[at : at + batch.num_rows], batch
        at += batch.num_rows
        if at < len(numbers) and numbers[at] > last:
            return
