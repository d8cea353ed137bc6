"""Form samples on many workers: tasks over ranges of the items, then tasks over buckets of samples.

A range selects its items, and puts them into buckets by a hash of what their samples' keys are made from: so all items
of a sample are in one bucket, and all samples whose keys depend on each other. A bucket forms its samples. Both run
the statements that the driver runs on all items at once, each in a database of its own.
"""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pipeline.align.alignment import Alignment
from pipeline.align.name_samples import MATERIAL
from pipeline.align.params import AlignParams
from pipeline.align.parts import Part
from pipeline.align.plan_samples import form_samples, open_alignment
from pipeline.align.read_items import Groups, load_items
from pipeline.align.select_items import select_items
from pipeline.config.params import RunParams, parse_size
from pipeline.tables.bucket_files import read_rows_of, write_buckets, write_rows
from pipeline.tables.contracts import CLEANED, CLEANED_ITEMS
from pipeline.tables.database import open_database
from pipeline.tables.table_files import list_parts

RANGE_GROUPS = 5
"""Row groups of a range: 250,000 items, for which its process takes some 450 MB."""

SELECTED = """
    SELECT
        md5_number_lower({material}) % {buckets} AS bucket, judged.*, source, file, items.part AS item_part,
        exact_cluster, near_cluster
    FROM judged JOIN items USING (item) WHERE fault IS NULL
    ORDER BY bucket, item
"""
"""md5 is the same on all machines, unlike DuckDB's `hash`, which may change with its version."""

JUDGED = """
    CREATE TABLE judged AS
    SELECT * EXCLUDE (source, file, item_part, exact_cluster, near_cluster) FROM selected
"""

ITEMS = """
    CREATE TABLE items AS
    SELECT item, source, file, item_part AS part, exact_cluster, near_cluster FROM selected
"""

RESULTS = {
    "named": "FROM named",
    "samples": "SELECT sample FROM samples",
    "members": "SELECT * EXCLUDE (label, split) FROM members",
    "labels": "SELECT sample, label FROM labels",
    "splits": "SELECT sample, split FROM splits",
    "unknown": "FROM unknown",
    "rejected": "FROM rejected",
    "items": "SELECT item, exact_cluster, near_cluster FROM items",
    "dropped": "FROM dropped",
}
"""What the driver gets of the tables of a bucket, by their names."""


@dataclass(frozen=True)
class BucketPlan:
    """What all tasks share.

    Attributes:
        data: outputs of the stages before.
        folder: for what tasks hand on; all workers see it.
        parts: of the samples.
        run: how to run.
        buckets: how many.
        ranges: the row groups of the cleaned table in each range.
    """

    data: Path
    folder: Path
    params: AlignParams
    parts: Sequence[Part]
    run: RunParams
    buckets: int
    ranges: Sequence[Groups]

    def list_selected(self) -> list[Path]:
        """Return the files of the ranges' items, a record batch for each bucket."""
        return [self.folder / f"range-{number:06d}.selected.arrow" for number in range(len(self.ranges))]

    def list_results(self, table: str) -> list[Path]:
        """Return the files of a table of `RESULTS`."""
        paths = [self.folder / f"bucket-{number:06d}.{table}.arrow" for number in range(self.buckets)]
        return [*paths, *map(self.name_dropped, range(len(self.ranges)))] if table == "dropped" else paths

    def name_dropped(self, number: int) -> Path:
        """Return the file of the dropped rows of a range."""
        return self.folder / f"range-{number:06d}.dropped.arrow"

    @contextmanager
    def open(self) -> Iterator[Alignment]:
        """Yield the alignment of a task, in an empty database."""
        memory = min(parse_size(self.run.table_memory), parse_size(self.run.memory) // 2)
        run = self.run.model_copy(update={"workers": 1, "table_memory": f"{memory // 1000} KB"})
        with (
            tempfile.TemporaryDirectory(dir=self.folder) as folder,
            open_database(Path(folder), run) as database,
        ):
            yield open_alignment(database, self.params, self.parts)


def plan_ranges(data: Path) -> list[Groups]:
    """Return the row groups of the cleaned table in each range; a table without rows is a range without row groups."""
    return [
        {number: range(start, min(start + RANGE_GROUPS, len(part.groups)))}
        for number, part in enumerate(list_parts(data / CLEANED_ITEMS, CLEANED))
        for start in range(0, max(len(part.groups), 1), RANGE_GROUPS)
    ]


@dataclass(frozen=True)
class BucketTask:
    """The range, or the bucket, of that number."""

    plan: BucketPlan
    number: int


def select_range(task: BucketTask) -> None:
    """Select the items of a range and write them by bucket; write the dropped rows of the others."""
    plan = task.plan
    with plan.open() as alignment:
        database = alignment.database
        load_items(database, plan.data, plan.params, plan.ranges[task.number])
        select_items(alignment)
        selected = SELECTED.format(material=MATERIAL[plan.params.by], buckets=plan.buckets)
        write_buckets(database, selected, plan.list_selected()[task.number], plan.buckets)
        write_rows(database, "FROM dropped", plan.name_dropped(task.number))


def form_bucket(task: BucketTask) -> None:
    """Form the samples of a bucket and write its tables."""
    plan = task.plan
    with plan.open() as alignment:
        database = alignment.database
        database.insert("selected", read_rows_of(plan.list_selected(), task.number))
        for statement in (JUDGED, ITEMS, "DROP TABLE selected"):
            database.execute(statement)
        form_samples(alignment)
        for table, sql in RESULTS.items():
            write_rows(database, sql, plan.list_results(table)[task.number])
