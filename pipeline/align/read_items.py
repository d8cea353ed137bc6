"""Read the cleaned items, with what the ingested table says of them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.align.params import AlignParams
from pipeline.tables.columns import build_schema
from pipeline.tables.contracts import CLEANED, CLEANED_ITEMS, INGESTED_ITEMS, ITEMS
from pipeline.tables.database import Database
from pipeline.tables.table_files import check_reference, read_batches

if TYPE_CHECKING:
    import pyarrow as pa

CLEANED_COLUMNS = ("item", "sample_rate", "frames", "exact_cluster", "near_cluster")
INGESTED_COLUMNS = ("source", "file", "part", "modality", "label", "page_label", "start", "end", "group", "split")
GIVEN_COLUMNS = {"page": ("page", "url"), "pattern": (), "table": ("sample",)}
"""The further columns that say which items belong together, by `align.by`."""

LOADED = {
    "page": "* EXCLUDE (page, url), coalesce(nullif(page, ''), url) AS given",
    "pattern": "*, NULL::VARCHAR AS given",
    "table": "* RENAME (sample AS given)",
}
"""The columns of `items`; a page's own text may be on no other page."""

NAME_ITEM = """
    CREATE MACRO name_item(source, file, part) AS
        source || ':' || file || CASE part WHEN '' THEN '' ELSE '#' || part END
"""
"""Gives an item the name that `pipeline.tables.item_names.name_item` gives it."""


def load_items(database: Database, data: Path, params: AlignParams) -> None:
    """Create the table `items`, a row per cleaned item, and the macro `name_item`.

    Raises:
        InputError: one of the tables is missing or damaged, or they are not of one run.
    """
    check_reference(data / CLEANED_ITEMS, INGESTED_ITEMS, data / INGESTED_ITEMS)
    names = [*INGESTED_COLUMNS, *GIVEN_COLUMNS[params.by]]
    database.insert("items", _read_items(data, names), columns=LOADED[params.by])
    database.execute(NAME_ITEM)


def _read_items(data: Path, names: list[str]) -> "Iterator[pa.RecordBatch]":
    """Yield the cleaned items; both tables are in the order of their numbers, so a few batches are in memory."""
    import pyarrow as pa

    fields = [build_schema(CLEANED).field(name) for name in CLEANED_COLUMNS]
    window = pa.schema([build_schema(ITEMS).field(name) for name in names]).empty_table()
    schema = pa.schema([*fields, *window.schema])
    yield pa.RecordBatch.from_pylist([], schema=schema)
    ingested = read_batches(data / INGESTED_ITEMS, ITEMS, names)
    first = 0  # the number of the window's first row
    for batch in read_batches(data / CLEANED_ITEMS, CLEANED, CLEANED_COLUMNS):
        numbers = batch.column("item").to_numpy()
        while first + window.num_rows <= numbers[-1]:
            window = pa.concat_tables([window, pa.Table.from_batches([next(ingested)])])
        window = window.slice(int(numbers[0]) - first)
        first = int(numbers[0])
        rows = window.take(numbers - numbers[0]).combine_chunks().to_batches()[0]
        yield pa.RecordBatch.from_arrays([*batch.columns, *rows.columns], schema=schema)
