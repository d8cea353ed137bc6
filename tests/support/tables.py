"""Write the ingested and the cleaned table of items that tests make up."""

from collections.abc import Sequence
from pathlib import Path

from pipeline.tables.columns import Row
from pipeline.tables.contracts import CLEANED, CLEANED_ITEMS, INGESTED_ITEMS, ITEMS
from pipeline.tables.table_files import identify_table, write_table

CLUSTERS = ("exact_cluster", "near_cluster")


def write_items(data: Path, rows: Sequence[Row], lost: Sequence[Row] = ()) -> None:
    """Write `rows` as ingested and cleaned items, and `lost` as items that `clean` dropped.

    A row has the columns of both tables but for `item`: its clusters are ids, of items in `rows`.
    """
    ordered = sorted([*rows, *lost], key=lambda row: str(row["id"]))
    numbers = {row["id"]: number for number, row in enumerate(ordered)}
    write_table(data / INGESTED_ITEMS, [{name: row[name] for name in ITEMS} for row in ordered], ITEMS)
    cleaned = [
        {name: row.get(name) for name in CLEANED}
        | {"item": numbers[row["id"]]}
        | {c: numbers[row[c]] for c in CLUSTERS}
        for row in sorted(rows, key=lambda row: str(row["id"]))
    ]
    refers = {INGESTED_ITEMS: identify_table(data / INGESTED_ITEMS)}
    write_table(data / CLEANED_ITEMS, cleaned, CLEANED, refers)
