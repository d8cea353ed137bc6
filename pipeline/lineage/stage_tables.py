"""The tables of all stages under one data folder, of which some may be missing."""

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.lineage.facts import DropFacts
from pipeline.lineage.scan import MAX_HITS, RowFilter, ScanResult, find_groups, find_rows, match_any
from pipeline.lineage.settings import find_setting
from pipeline.tables.contracts import (
    ALIGNED_FOLDER,
    CLEANED_FOLDER,
    CRAWLED_FOLDER,
    EXTRACT_FOLDER,
    INGESTED_FOLDER,
    SHARDS_FOLDER,
    TABLES,
)
from pipeline.tables.parquet import DROPPED, Row
from pipeline.tables.row_files import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

PLACES = {
    "crawl": (CRAWLED_FOLDER, "crawl.parquet"),
    "ingest": (INGESTED_FOLDER, "items.parquet"),
    "clean": (CLEANED_FOLDER, "items.parquet"),
    "align": (ALIGNED_FOLDER, "samples.parquet"),
    "extract": (EXTRACT_FOLDER, "dropped.parquet"),
}
"""Of each stage that has a ledger: its folder, and the file in it that says that the stage ended well."""


class StageTables:
    """What is asked of the tables; a stage without its folder has no rows.

    Raises:
        InputError: there is none of the folders; the message names the data folder.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.stages = [stage for stage, (folder, _) in PLACES.items() if (data / folder).is_dir()]
        if not self.stages:
            raise InputError(
                f"{data} has none of the folders that the stages write: run `dvc repro`, or name it by --data"
            )

    @property
    def shards(self) -> Path:
        """The folder of the dataset."""
        return self.data / SHARDS_FOLDER

    def find(self, stage: str, look: RowFilter, limit: int = MAX_HITS) -> ScanResult:
        """Rows of a stage's table.

        Raises:
            InputError: the folder is there, and its table is not, or is damaged.
        """
        if stage not in self.stages:
            return ScanResult()
        folder, name = PLACES[stage]
        return find_rows(self.data / folder / name, TABLES[stage], look, limit)

    def find_groups(self, stage: str, column: str, values: Set[str]) -> dict[str, ScanResult]:
        """Rows of a stage's table by the value that they have in a column, of these values.

        Raises:
            InputError: as `find`.
        """
        if stage not in self.stages:
            return {}
        folder, name = PLACES[stage]
        return find_groups(self.data / folder / name, TABLES[stage], column, values)

    def find_dropped(self, stage: str, look: RowFilter, limit: int = MAX_HITS) -> ScanResult:
        """Rows of a stage's `dropped.parquet`.

        Raises:
            InputError: as `find`.
        """
        if stage not in self.stages:
            return ScanResult()
        return find_rows(self.data / PLACES[stage][0] / "dropped.parquet", DROPPED, look, limit)

    def find_drop(self, stage: str, key: str, modality: str | None = None) -> DropFacts | None:
        """Why a stage dropped what has this key there, or None; parts of it that were left out do not count."""
        rows = self.find_dropped(stage, match_any({"key": [key]})).rows
        return next((make_dropped(row, modality) for row in rows if row["unit"] != "part"), None)

    def read(self, stage: str, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """These columns of a stage's table, a batch at a time.

        Raises:
            InputError: as `find`.
        """
        if stage in self.stages:
            folder, name = PLACES[stage]
            yield from read_batches(self.data / folder / name, TABLES[stage], columns)

    def read_dropped(self, stage: str, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """These columns of a stage's `dropped.parquet`, a batch at a time.

        Raises:
            InputError: as `find`.
        """
        if stage in self.stages:
            yield from read_batches(self.data / PLACES[stage][0] / "dropped.parquet", DROPPED, columns)

    def read_names(self) -> "Iterator[pa.Array]":
        """All that can be asked for but ids: strings, a batch at a time. (What clean and align drop is in a file.)"""
        for stage, column in (("crawl", "url"), ("ingest", "file"), ("align", "key")):
            yield from (batch.column(column) for batch in self.read(stage, [column]))
        for stage in ("crawl", "ingest", "extract"):
            yield from (batch.column("key") for batch in self.read_dropped(stage, ["key"]))


def make_dropped(row: Row, modality: str | None = None) -> DropFacts:
    """The fact in a row of a `dropped.parquet`."""
    setting = find_setting(row["stage"], row["reason"], row["detail"], modality)
    return DropFacts(row["stage"], row["reason"], row["detail"], row["value"], row["limit"], row["count"], setting)
