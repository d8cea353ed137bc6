"""Search the tables of all stages under one data folder; some of them may be missing."""

from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.lineage.facts import DropFacts
from pipeline.lineage.scan import MAX_HITS, RowFilter, ScanResult, find_groups, find_rows, match_any
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

STAGE_FILES = {
    "crawl": (CRAWLED_FOLDER, "crawl.parquet"),
    "ingest": (INGESTED_FOLDER, "items.parquet"),
    "clean": (CLEANED_FOLDER, "items.parquet"),
    "align": (ALIGNED_FOLDER, "samples.parquet"),
    "extract": (EXTRACT_FOLDER, "dropped.parquet"),
}
"""The folder of each stage that has a dropped table, and a file in it that the stage writes."""


class StageTables:
    """The tables of all stages; a stage without its folder has no rows.

    Raises:
        InputError: none of the folders exists; the message names the data folder.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.stages = [stage for stage, (folder, _) in STAGE_FILES.items() if (data / folder).is_dir()]
        if not self.stages:
            raise InputError(
                f"{data} has none of the folders that the stages write: run `dvc repro`, or name it by --data"
            )

    @property
    def shards(self) -> Path:
        """Return the folder of the dataset."""
        return self.data / SHARDS_FOLDER

    def find(self, stage: str, condition: RowFilter, limit: int = MAX_HITS) -> ScanResult:
        """Return rows of a stage's table.

        Raises:
            InputError: the folder exists, but its table is missing or damaged.
        """
        if stage not in self.stages:
            return ScanResult()
        folder, name = STAGE_FILES[stage]
        return find_rows(self.data / folder / name, TABLES[stage], condition, limit)

    def find_groups(self, stage: str, column: str, values: Set[str]) -> dict[str, ScanResult]:
        """Return rows of a stage's table by their value in a column, for these values.

        Raises:
            InputError: as `find`.
        """
        if stage not in self.stages:
            return {}
        folder, name = STAGE_FILES[stage]
        return find_groups(self.data / folder / name, TABLES[stage], column, values)

    def find_dropped(self, stage: str, condition: RowFilter, limit: int = MAX_HITS) -> ScanResult:
        """Return rows of a stage's `dropped.parquet`.

        Raises:
            InputError: as `find`.
        """
        if stage not in self.stages:
            return ScanResult()
        return find_rows(self.data / STAGE_FILES[stage][0] / "dropped.parquet", DROPPED, condition, limit)

    def find_drop(self, stage: str, key: str) -> DropFacts | None:
        """Return why a stage dropped `key`, None if it did not; parts that were left out do not count."""
        rows = self.find_dropped(stage, match_any({"key": [key]})).rows
        return next((build_drop_facts(row) for row in rows if row["unit"] != "part"), None)

    def read(self, stage: str, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield these columns of a stage's table in batches.

        Raises:
            InputError: as `find`.
        """
        if stage in self.stages:
            folder, name = STAGE_FILES[stage]
            yield from read_batches(self.data / folder / name, TABLES[stage], columns)

    def read_dropped(self, stage: str, columns: Sequence[str]) -> "Iterator[pa.RecordBatch]":
        """Yield these columns of a stage's `dropped.parquet` in batches.

        Raises:
            InputError: as `find`.
        """
        if stage in self.stages:
            yield from read_batches(self.data / STAGE_FILES[stage][0] / "dropped.parquet", DROPPED, columns)

    def read_names(self) -> "Iterator[pa.Array]":
        """Yield all names that can be queried except ids, in batches. (What clean and align drop belongs to a file.)"""
        for stage, column in (("crawl", "url"), ("ingest", "file"), ("align", "key")):
            yield from (batch.column(column) for batch in self.read(stage, [column]))
        for stage in ("crawl", "ingest", "extract"):
            yield from (batch.column("key") for batch in self.read_dropped(stage, ["key"]))


def build_drop_facts(row: Row) -> DropFacts:
    """Return a row of a `dropped.parquet` as facts."""
    return DropFacts(
        stage=row["stage"],
        reason=row["reason"],
        detail=row["detail"],
        value=row["value"],
        limit=row["limit"],
        count=row["count"],
        setting=row["setting"] or None,
        kept_key=row["kept_key"] or None,
    )
