"""Join what the ranges of the listing found: facts of pages, refused licences, contents that several ranges have."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.ingest.ingest_range import FOUND, OWN, RANGE_TABLES
from pipeline.ingest.params import IngestParams
from pipeline.privacy.redact_names import NameRedactor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.tables.blob_store import copy_members
from pipeline.tables.columns import HASH_BYTES, build_schema
from pipeline.tables.contracts import INGESTED_FOLDER, ITEMS
from pipeline.tables.database import Database
from pipeline.tables.dropped_rows import PART, DroppedRows
from pipeline.tables.drops import Reason
from pipeline.tables.table_files import TableWriter

if TYPE_CHECKING:
    import pyarrow as pa

_DESCRIBED = """
    CREATE VIEW described AS
    SELECT found.* REPLACE (
        coalesce(found.page_label, pages.label) AS page_label,
        coalesce(found.licence, pages.licence, defaults.licence) AS licence,
        coalesce(found.attribution, pages.attribution, defaults.attribution) AS attribution,
        coalesce(found.page, counted.page) AS page,
        counted.pages AS pages,
        CASE WHEN counted.pages IS NOT NULL THEN (SELECT count(*) FROM pages) END AS all_pages
    )
    FROM found CROSS JOIN defaults
    LEFT JOIN (
        SELECT image, count(*) AS pages, min(page) AS page FROM shown GROUP BY image
    ) AS counted ON found.url = counted.image
    LEFT JOIN pages ON coalesce(found.page, counted.page) = pages.url
"""
"""What a page says of what it embeds; a page's row has its own URL as its page."""

_REFUSED = """
    CREATE TABLE refused AS
    SELECT DISTINCT source, file, coalesce(licence, 'none') AS licence FROM described
    WHERE licence IS NULL OR licence NOT IN (SELECT unnest($licences))
"""

_REPEATED = """
    CREATE TABLE repeated AS
    SELECT sha256, min(tar) AS tar, arg_min("offset", (tar, "offset")) AS "offset" FROM found SEMI JOIN (
        SELECT sha256 FROM found GROUP BY sha256
        HAVING min("offset") <> max("offset") OR min(tar) <> max(tar)
    ) USING (sha256)
    GROUP BY sha256
"""
"""Contents that are in several places, and the first of these: the crawl's tars, else the first range's."""

_KEPT = """
    CREATE VIEW kept AS
    SELECT described.* REPLACE (
        coalesce(repeated.tar, described.tar) AS tar,
        CASE WHEN repeated.tar IS NULL THEN described."offset" ELSE repeated."offset" END AS "offset"
    )
    FROM described ANTI JOIN refused USING (source, file) LEFT JOIN repeated USING (sha256)
"""

_CHANGED_TARS = f"""
    CREATE TABLE changed_tars AS
    SELECT tar FROM found SEMI JOIN refused USING (source, file) WHERE starts_with(tar, '{INGESTED_FOLDER}/')
    UNION SELECT found.tar FROM found JOIN repeated USING (sha256)
    WHERE found.tar <> repeated.tar AND starts_with(found.tar, '{INGESTED_FOLDER}/')
"""
"""The tars that have contents of no kept item."""

_MOVED = """
    CREATE TABLE moved AS
    SELECT tar, "offset", size, sum(512 + padded) OVER (PARTITION BY tar ORDER BY "offset") - padded AS new_offset
    FROM (
        SELECT tar, "offset", any_value(size) AS size, (any_value(size) + 511) // 512 * 512 AS padded
        FROM kept SEMI JOIN changed_tars USING (tar) GROUP BY tar, "offset"
    )
"""
"""Where the other contents of these tars will be without them."""

_REFUSED_ROWS = f"""
    SELECT source || ':' || file AS key, '{Reason.LICENCE_REFUSED}' AS reason, 'not an allowed licence' AS detail,
        licence AS value, 'ingest.licences' AS setting
    FROM refused
"""

_REJECTED_ROWS = f"""
    SELECT * FROM rejected
    WHERE unit <> '{PART}' OR key NOT IN (SELECT source || ':' || file FROM refused)
"""

_PLACED = """
    SELECT kept.* REPLACE (coalesce(moved.new_offset, kept."offset") AS "offset") FROM kept
    LEFT JOIN moved ON kept.tar = moved.tar AND kept."offset" = moved."offset"
    WHERE kept.id >= $low AND kept.id < $high ORDER BY kept.id
"""

SORTED_ROWS = 1_000_000
"""About how many items are sorted at a time: ids are hashes, so those between two bounds are as many as between others.
Sorting a million takes between 128 and 256 MB of `run.table_memory`."""


class RangeJoin:
    """The tables of all ranges, in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        for name, columns in RANGE_TABLES.items():
            database.create(name, columns)

    def add(self, folder: Path, name: str) -> None:
        """Add the tables of a range, and remove their files."""
        import pyarrow as pa

        for table in RANGE_TABLES:
            path = folder / f"{name}.{table}.arrow"
            if path.exists():
                with pa.memory_map(str(path)) as file:
                    rows = pa.ipc.open_file(file).read_all()
                    self._database.append(table, _name_tar(rows, name) if table == FOUND else rows)
                path.unlink()

    def join(self, params: IngestParams, dropped: DroppedRows) -> int:
        """Find the items that are kept and where their contents will be, and add the dropped rows of the ranges.

        Returns:
            The number of files with items that have no licence of `params.licences`, and are dropped.
        """
        defaults = {"licence": params.licence, "attribution": params.attribution}
        run = self._database.execute
        run(
            "CREATE TABLE defaults AS SELECT $licence::VARCHAR AS licence, $attribution::VARCHAR AS attribution",
            defaults,
        )
        run(_DESCRIBED)
        if params.licences is None:
            run("CREATE TABLE refused (source VARCHAR, file VARCHAR, licence VARCHAR)")
        else:
            run(_REFUSED, {"licences": list(params.licences)})
        for statement in (_REPEATED, _KEPT, _CHANGED_TARS, _MOVED):
            run(statement)
        ((refused,),) = self._database.fetch("SELECT count(*) FROM refused")
        dropped.add_query(_REFUSED_ROWS)
        dropped.add_query(_REJECTED_ROWS)
        return int(refused)

    def write_items(self, folder: Path, redactor: NameRedactor) -> None:
        """Write the table of the items, ordered by id, with their names redacted."""
        schema = build_schema(ITEMS)
        ((count,),) = self._database.fetch("SELECT count(*) FROM found")
        bounds = divide_ids(count // SORTED_ROWS + 1)
        with TableWriter(folder, ITEMS) as writer:
            for low, high in pairwise(bounds):
                for batch in self._database.read(_PLACED, {"low": low, "high": high}):
                    writer.write(redactor.redact_rows(batch.cast(schema)))

    def list_copies(self, ranges: Path, folder: Path) -> "Sequence[TarCopy]":
        """Move the tars of which every content is kept from the folder of the ranges, and return a task for each of the
        others."""
        changed = {Path(tar).name for (tar,) in self._database.fetch("SELECT tar FROM changed_tars")}
        copied = self._database.fetch("SELECT DISTINCT tar FROM moved ORDER BY tar")
        for path in sorted(ranges.glob("items-*.tar")):
            if path.name not in changed:
                path.rename(folder / path.name)
        names = [Path(tar).name for (tar,) in copied]
        return LazyTasks(
            len(names), lambda number: TarCopy(names[number], ranges, folder, self._read_members(copied[number][0]))
        )

    def _read_members(self, tar: str) -> NDArray[np.int64]:
        rows = self._database.fetch('SELECT "offset", size FROM moved WHERE tar = $tar ORDER BY "offset"', {"tar": tar})
        return np.array(rows, np.int64)


def _name_tar(found: "pa.Table", name: str) -> "pa.Table":
    """Return the table `found` with the name of the range's tar in place of `OWN`."""
    import pyarrow.compute as pc

    column = found.schema.get_field_index("tar")
    tars = pc.if_else(pc.equal(found["tar"], OWN), f"{INGESTED_FOLDER}/{name}.tar", found["tar"])
    return found.set_column(column, found.schema.field(column), tars)


def divide_ids(parts: int) -> list[bytes]:
    """Return the bounds of so many equal intervals of all ids: the first is below all, the last above all."""
    return [(number * 2**64 // parts).to_bytes(8, "big") for number in range(parts)] + [b"\xff" * (HASH_BYTES + 1)]


@dataclass(frozen=True, eq=False)
class TarCopy:
    """A task: copy members of the tar `name` to another folder; int64 (n, 2), offset and size of their contents."""

    name: str
    source: Path
    target: Path
    members: NDArray[np.int64]


def copy_tar(task: TarCopy) -> None:
    """Copy the members of a task, by rename."""
    partial = task.source / f".{task.name}-{os.getpid()}"
    copy_members(task.source / task.name, partial, task.members)
    partial.rename(task.target / task.name)
