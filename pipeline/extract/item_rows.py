"""Join the tables of ingest and clean into one file of item rows, which workers read by item number."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.tables.columns import build_schema
from pipeline.tables.contracts import CLEANED, CLEANED_ITEMS, INGESTED_ITEMS, ITEMS
from pipeline.tables.row_files import RowFileWriter
from pipeline.tables.table_files import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

ORIGIN = ("id", "source", "file", "part", "url", "language", "licence", "attribution")
"""Columns of the ingested table that a sample's meta holds for each item: its provenance."""

NAMES = (*ORIGIN, "media_type")
FACTS = ("orientation", "sha256", "tar", "offset", "size")
"""The columns of a row: from the ingested table, and from the cleaned one, null for an item that clean dropped."""


def write_item_rows(data: Path, path: Path, note: "Callable[[pa.RecordBatch], None]") -> None:
    """Write the rows of all items, in the order of their numbers, and hand them to `note`, with their modality,
    frames and sample rate.

    Raises:
        InputError: one of the tables is missing or damaged.
    """
    with RowFileWriter(path, [*NAMES, *FACTS]) as writer:
        for batch in join_items(data, (*NAMES, "modality"), (*FACTS, "frames", "sample_rate")):
            writer.write(batch)
            note(batch)


def join_items(data: Path, names: Sequence[str], facts: Sequence[str]) -> "Iterator[pa.RecordBatch]":
    """Yield the rows of all items, in the order of their numbers: `names` of the ingested table, `facts` of the cleaned
    one, null for an item that clean dropped.

    Raises:
        InputError: one of the tables is missing or damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    cleaned = _CleanedRows(data, facts)
    start = 0
    for batch in read_batches(data / INGESTED_ITEMS, ITEMS, names):
        stop = start + batch.num_rows
        found = cleaned.take_until(stop)
        at = np.full(batch.num_rows, -1, np.int64)
        at[found["item"].to_numpy().astype(np.int64) - start] = np.arange(found.num_rows)
        chosen = found.take(pa.array(at, mask=at < 0)).combine_chunks()
        columns = {name: batch.column(name) for name in names}
        for name in facts:
            columns[name] = chosen[name].combine_chunks() if batch.num_rows else pa.array([], chosen[name].type)
        columns["orientation"] = pc.fill_null(columns["orientation"], 1)
        yield pa.RecordBatch.from_pydict(columns)
        start = stop


class _CleanedRows:
    """Hands out the rows of the cleaned table in order."""

    def __init__(self, data: Path, facts: Sequence[str]) -> None:
        import pyarrow as pa

        names = ["item", *facts]
        self._batches: Iterator[pa.RecordBatch] = read_batches(data / CLEANED_ITEMS, CLEANED, names)
        self._rest = pa.schema([build_schema(CLEANED).field(name) for name in names]).empty_table()

    def take_until(self, stop: int) -> "pa.Table":
        """Return the next rows, up to the first whose item is `stop` or more."""
        import pyarrow as pa

        while not self._rest.num_rows or self._rest["item"][-1].as_py() < stop:
            batch = next(self._batches, None)
            if batch is None:
                break
            self._rest = pa.concat_tables([self._rest, pa.Table.from_batches([batch])])
        count = int(np.searchsorted(self._rest["item"].to_numpy(), stop))
        found, self._rest = self._rest.slice(0, count), self._rest.slice(count)
        return found
