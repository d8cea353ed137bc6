"""Search the tables of all stages under one data folder; some of them may be missing, or older than the items."""

import hashlib
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from pipeline.errors import InputError
from pipeline.lineage.facts import DropFacts
from pipeline.lineage.scan import NUMBER, RowNumbers, TableSearch
from pipeline.tables.columns import Columns, Row, build_schema
from pipeline.tables.contracts import (
    ALIGNED_FOLDER,
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED_FOLDER,
    CLEANED_ITEMS,
    CRAWLED_FOLDER,
    DROPPED,
    EXTRACT_FOLDER,
    INGESTED_FOLDER,
    INGESTED_ITEMS,
    SHARDS_FOLDER,
    TABLES,
)
from pipeline.tables.dropped_rows import PART
from pipeline.tables.table_files import is_reference_current

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.tables.database import Database

STAGE_FOLDERS = {
    "crawl": CRAWLED_FOLDER,
    "ingest": INGESTED_FOLDER,
    "clean": CLEANED_FOLDER,
    "align": ALIGNED_FOLDER,
    "extract": EXTRACT_FOLDER,
}
"""The folder of each stage that has a dropped table, in the order in which an item passes them."""

TABLE_FOLDERS = {
    "crawl": f"{CRAWLED_FOLDER}/crawl",
    "ingest": INGESTED_ITEMS,
    "clean": CLEANED_ITEMS,
    "align": ALIGNED_SAMPLES,
    "parts": ALIGNED_PARTS,
}
"""By the names of `pipeline.tables.contracts.TABLES`."""

NUMBERED = {"clean": "clean", "parts": "align"}
"""The tables that hold item numbers, and their stages."""

KEY = re.compile("[A-Za-z0-9_-]{1,64}")
"""A sample's key, see `pipeline.align`."""

Rows = dict[int, Row]
"""Rows by their numbers in the table."""

NAMED = ("source", "file", "part", "url")
"""The columns that name an item."""

NO_ROWS: RowNumbers = np.empty(0, np.int64)

MAX_HITS = 1000
"""Rows that one search returns; more are counted. They are for people to read."""


class StageTables:
    """The tables of all stages. A stage without its folder has no rows.

    Attributes:
        stages: those whose folders exist.
        outdated: those of them that hold the numbers of other items than ingest has now; what they say of items is not
            shown.

    Raises:
        InputError: none of the folders exists, the message names the data folder; or a table is missing or damaged.
    """

    def __init__(self, data: Path) -> None:
        self.data = data
        self.stages = [stage for stage, folder in STAGE_FOLDERS.items() if (data / folder).is_dir()]
        if not self.stages:
            raise InputError(
                f"{data} has none of the folders that the stages write: run `dvc repro`, or name it by --data"
            )
        self.outdated = [stage for table, stage in NUMBERED.items() if self._is_outdated(table, stage)]
        self._open: dict[str, TableSearch] = {}
        self._named: Rows = {}
        self._samples: Rows = {}
        self._parts: dict[int, dict[str, list[Row]]] = {}
        self._files: tuple[frozenset[str], RowNumbers] = frozenset(), NO_ROWS

    def _is_outdated(self, table: str, stage: str) -> bool:
        if stage not in self.stages or "ingest" not in self.stages:
            return False
        return not is_reference_current(self.data / TABLE_FOLDERS[table], INGESTED_ITEMS, self.data / INGESTED_ITEMS)

    @property
    def shards(self) -> Path:
        """Return the folder of the dataset."""
        return self.data / SHARDS_FOLDER

    def open(self, name: str) -> TableSearch | None:
        """Return a table, or None where there is none, or its item numbers are not those of ingest's table.

        Raises:
            InputError: the stage's folder exists, but its table is missing or damaged; so do all methods.
        """
        stage = NUMBERED.get(name, name)
        if stage not in self.stages or (name in NUMBERED and (stage in self.outdated or "ingest" not in self.stages)):
            return None
        return self._search(TABLE_FOLDERS[name], TABLES[name])

    def open_dropped(self, stage: str) -> TableSearch | None:
        """Return a stage's table `dropped`, or None where there is none, or it is about other items."""
        known = stage in self.stages and stage not in self.outdated
        return self._search(f"{STAGE_FOLDERS[stage]}/dropped", DROPPED) if known else None

    def load(self, database: "Database", name: str, columns: Sequence[str], table: str, condition: str = "") -> None:
        """Create the table `table` in a database, without rows where the stage's table cannot be opened.

        Args:
            database: with SQL.
            name: of the stage's table; `dropped.clean` is the table `dropped` of clean.
            columns: of it; `number` is added, that of the row.
            table: to create.
            condition: a clause in SQL, `WHERE …` or `SEMI JOIN …`, that the rows fulfil.
        """
        import pyarrow as pa

        _, _, stage = name.partition("dropped.")
        found = self.open_dropped(stage) if stage else self.open(name)
        declared = build_schema(DROPPED if stage else TABLES[name])
        schema = pa.schema([*(declared.field(each) for each in columns), pa.field(NUMBER, pa.int64())])
        empty = pa.RecordBatch.from_pylist([], schema)
        database.insert(table, chain([empty], found.read(columns) if found else ()), condition)

    def _search(self, folder: str, columns: Columns) -> TableSearch:
        if folder not in self._open:
            self._open[folder] = TableSearch(self.data / folder, columns)
        return self._open[folder]

    def find(self, name: str, column: str, values: Collection[str | int]) -> RowNumbers:
        """Return the numbers of the rows of a table that have one of these values in a column."""
        table = self.open(name)
        return list_numbers(table.find(column, values)) if table and values else NO_ROWS

    def select(self, name: str, numbers: Collection[int] | RowNumbers, columns: Sequence[str] | None = None) -> Rows:
        """Return by number the rows of a table with these numbers."""
        table = self.open(name)
        return table.select(np.array(sorted(numbers), np.int64), columns) if table and len(numbers) else {}

    def find_rows(
        self, name: str, column: str, values: Collection[str | int], columns: Sequence[str] | None = None
    ) -> Rows:
        """Return by number the first `MAX_HITS` rows of a table with one of these values in a column."""
        return self.select(name, self.find(name, column, values)[:MAX_HITS], columns)

    def name_items(self, numbers: Iterable[int]) -> Rows:
        """Return the names of items, in this order: the columns `NAMED`. They are read once."""
        distinct = dict.fromkeys(numbers)
        self._named |= self.select("ingest", [number for number in distinct if number not in self._named], NAMED)
        return {number: self._named[number] for number in distinct if number in self._named}

    def find_file(self, source: str, file: str) -> RowNumbers:
        """Return the numbers of the items of a file. The last search for files is not repeated."""
        import pyarrow.compute as pc

        hits = self.find_files([file])
        table = self.open("ingest")
        if table is None:
            return hits
        found = table.take(hits, ["source", "file"])
        return list_numbers(found.filter(pc.and_(pc.equal(found["source"], source), pc.equal(found["file"], file))))

    def find_files(self, files: Collection[str]) -> RowNumbers:
        """Return the numbers of the items of files with one of these paths, and of others of the last search."""
        if not self._files[0].issuperset(files):
            self._files = frozenset(files), self.find("ingest", "file", files)
        return self._files[1]

    def find_sample(self, key: str) -> tuple[int, Row] | None:
        """Return the number and the row of a sample.

        Samples are ordered by split and sha256 of the key, so row groups are read in the order of their distance from
        where it would be: one or two, unless no sample has the key.
        """
        table = self.open("align")
        if table is None or not KEY.fullmatch(key):
            return None
        if known := [(number, row) for number, row in self._samples.items() if row["key"] == key]:
            return known[0]
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) / 2**32
        for group in table.order_groups("split", place):
            if len(numbers := list_numbers(table.find("key", [key], [group]))):
                return next(iter(self.read_samples(numbers.tolist()).items()))
        return None

    def read_samples(self, numbers: Collection[int]) -> Rows:
        """Return samples; they are read once."""
        self._samples |= self.select("align", [number for number in numbers if number not in self._samples])
        return {number: self._samples[number] for number in numbers}

    def find_samples(self, items: Collection[int]) -> Sequence[int]:
        """Return the numbers of the samples that have one of these items; the parts that were read come first."""
        known = {row["item"]: n for n, parts in self._parts.items() for rows in parts.values() for row in rows}
        found = self.find("parts", "item", [item for item in items if item not in known])
        rows = self.select("parts", found, ["sample"]).values()
        return sorted({*(known[item] for item in items if item in known), *(row["sample"] for row in rows)})

    def read_parts(self, sample: int) -> dict[str, list[Row]]:
        """Return the items of a sample, in their order, by the names of its parts; they are read once."""
        if sample not in self._parts:
            self._parts[sample] = defaultdict(list)
            for row in self.select("parts", self.find("parts", "sample", [sample])).values():
                self._parts[sample][row["part"]].append(row)
        return self._parts[sample]

    def find_dropped(self, stage: str, keys: Collection[str]) -> list[Row]:
        """Return the first `MAX_HITS` rows of a stage's table `dropped` with one of these keys."""
        table = self.open_dropped(stage)
        return select_hits(table, table.find("key", keys)) if table and keys else []

    def find_drop(self, stage: str, key: str) -> DropFacts | None:
        """Return why a stage dropped `key`, None if it did not; parts that were left out do not count."""
        rows = self.find_dropped(stage, [key])
        return next((build_drop_facts(row) for row in rows if row["unit"] != PART), None)

    def read_names(self) -> "Iterator[pa.Array]":
        """Yield all names that can be queried except ids, in batches. (What clean and align drop belongs to a file.)"""
        for name, column in (("crawl", "url"), ("ingest", "file"), ("align", "key")):
            table = self.open(name)
            yield from (batch.column(0) for batch in (table.read([column]) if table else ()))
        for stage in ("crawl", "ingest", "extract"):
            table = self.open_dropped(stage)
            yield from (batch.column(0) for batch in (table.read(["key"]) if table else ()))


def list_numbers(hits: "pa.Table") -> RowNumbers:
    """Return the numbers of the rows that a search found."""
    numbers: RowNumbers = hits[NUMBER].to_numpy()
    return numbers


def select_hits(table: TableSearch, hits: "pa.Table") -> list[Row]:
    """Return the first `MAX_HITS` rows that a search found."""
    return list(table.select(list_numbers(hits)[:MAX_HITS]).values())


def build_drop_facts(row: Row) -> DropFacts:
    """Return a row of a table `dropped` as facts."""
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
