"""Read the cleaned items, with what the ingested table says of them."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.align.params import AlignParams
from pipeline.tables.columns import build_schema
from pipeline.tables.contracts import CLEANED, CLEANED_ITEMS, INGESTED_ITEMS, ITEMS
from pipeline.tables.database import Database
from pipeline.tables.item_names import PART_SUFFIX
from pipeline.tables.table_files import list_parts, read_batches

if TYPE_CHECKING:
    import pyarrow as pa

CLEANED_COLUMNS = ("item", "width", "height", "sample_rate", "frames", "exact_cluster", "near_cluster")
INGESTED_COLUMNS = ("source", "file", "part", "modality", "label", "page_label", "start", "end", "group", "split")
GIVEN_COLUMNS = {
    "page": ("page", "url", "pages", "all_pages"),
    "figure": ("page", "url", "about", "pages", "all_pages"),
    "pattern": (),
    "table": ("sample",),
    "file": (),
}
"""The further columns that say which items belong together, by `align.by`."""

_NO_PAGES = "NULL::BIGINT AS pages, NULL::BIGINT AS all_pages"

LOADED = {
    "page": "* EXCLUDE (url), coalesce(nullif(page, ''), url) AS given",
    "figure": "* EXCLUDE (url, about), coalesce(about, CASE part WHEN '' THEN url END) AS given",
    "pattern": f"*, NULL::VARCHAR AS given, {_NO_PAGES}",
    "table": f"* RENAME (sample AS given), {_NO_PAGES}",
    "file": f"*, NULL::VARCHAR AS given, {_NO_PAGES}",
}
"""The columns of `items`: a page's own text may be on no other page, and a figure is known by the URL of its image."""

NAME_ITEM = """
    CREATE MACRO name_item(source, file, part) AS
        source || ':' || file || CASE part WHEN '' THEN '' ELSE '#' || part END
"""
"""Gives an item the name that `pipeline.tables.item_names.name_item` gives it."""

SPLIT_PART = f"""
    CREATE MACRO name_of_part(part) AS regexp_replace(part, '{PART_SUFFIX}', '');
    CREATE MACRO number_of_part(part) AS coalesce(try_cast(regexp_extract(part, '{PART_SUFFIX}', 1) AS BIGINT), 1);
    CREATE MACRO segment_of_part(part) AS regexp_extract(part, '{PART_SUFFIX}', 2)
"""
"""What `pipeline.tables.item_names.split_part` returns."""


Groups = Mapping[int, Sequence[int]]
"""Row groups of the cleaned table, by the number of the part."""

FOUND = "SELECT DISTINCT modality FROM items WHERE $within IS NULL OR list_contains($within, source)"


def load_items(database: Database, data: Path, params: AlignParams, groups: Groups | None = None) -> None:
    """Create the table `items`, a row per cleaned item, of these row groups or of all.

    Raises:
        InputError: one of the tables is missing or damaged.
    """
    names = [*INGESTED_COLUMNS, *GIVEN_COLUMNS[params.by]]
    database.insert("items", _read_items(data, names, groups), columns=LOADED[params.by])


def load_modalities(database: Database, data: Path) -> None:
    """Create the table `items`, a row for each source and modality of the cleaned items."""
    database.insert("items", _read_items(data, ["source", "modality"]), columns="DISTINCT source, modality")


def load_rejected(database: Database, data: Path) -> None:
    """Create the table `items`, a row with the names of each item in `rejected`."""
    names = ["source", "file", "part"]
    database.load("items", data / INGESTED_ITEMS, ITEMS, names, number="item", only="rejected")


def find_modalities(database: Database, params: AlignParams) -> list[str]:
    """Return the modalities of the items, from the table `items`."""
    within = None if params.within is None else list(params.within)
    return [modality for (modality,) in database.fetch(FOUND, {"within": within})]


def _read_items(data: Path, names: list[str], groups: Groups | None = None) -> "Iterator[pa.RecordBatch]":
    """Yield the cleaned items; both tables are in the order of their numbers, so a few batches are in memory."""
    import pyarrow as pa

    fields = [build_schema(CLEANED).field(name) for name in CLEANED_COLUMNS]
    window = pa.schema([build_schema(ITEMS).field(name) for name in names]).empty_table()
    schema = pa.schema([*fields, *window.schema])
    yield pa.RecordBatch.from_pylist([], schema=schema)
    ingested: Iterator[pa.RecordBatch] | None = None
    first = 0  # the number of the window's first row
    for batch in read_batches(data / CLEANED_ITEMS, CLEANED, CLEANED_COLUMNS, groups):
        numbers = batch.column("item").to_numpy()
        if ingested is None:
            first, ingested = _read_ingested(data / INGESTED_ITEMS, names, int(numbers[0]))
        while first + window.num_rows <= numbers[-1]:
            window = pa.concat_tables([window, pa.Table.from_batches([next(ingested)])])
        window = window.slice(int(numbers[0]) - first)
        first = int(numbers[0])
        rows = window.take(numbers - numbers[0]).combine_chunks().to_batches()[0]
        yield pa.RecordBatch.from_arrays([*batch.columns, *rows.columns], schema=schema)


def _read_ingested(folder: Path, names: list[str], start: int) -> "tuple[int, Iterator[pa.RecordBatch]]":
    """Return the rows from the row group on that has row `start`, and the number of the first of them."""
    groups: dict[int, list[int]] = {}
    first = 0
    for number, part in enumerate(list_parts(folder, ITEMS)):
        for group, rows in enumerate(part.groups):
            if not groups and first + rows <= start:
                first += rows
            else:
                groups.setdefault(number, []).append(group)
    return first, read_batches(folder, ITEMS, names, groups)
