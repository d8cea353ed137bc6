"""Read the table in which a user annotates the files of a folder, and join it to the listing."""

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize

from pipeline.errors import InputError
from pipeline.formats.tabular import BadRow, TextRow, read_rows
from pipeline.ingest.sources.source import ANNOTATIONS, SourceInputs
from pipeline.inputs.read_file import hash_file
from pipeline.tables.columns import Columns, Row, build_batch
from pipeline.tables.contracts import LISTED, LISTED_FILES
from pipeline.tables.database import Database
from pipeline.tables.drops import Rejection
from pipeline.tables.table_files import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

ORIGIN = "folder"
"""The `source` of local files: not the folder's name, so that it may move."""

SPAN_COLUMNS = ("start", "end")
TEXT_COLUMNS = tuple(name for name in ANNOTATIONS if name not in SPAN_COLUMNS)

BATCH_ROWS = 10_000
SHOWN = 3
"""How many of the rows that name no file a message has."""

_UNKNOWN = f"FROM annotations ANTI JOIN (SELECT file FROM listed WHERE source = '{ORIGIN}') USING (file)"
_TABLE: Columns = {"line": "int64", "file": "string", **ANNOTATIONS}


def annotate_files(inputs: SourceInputs, database: Database) -> None:
    """Fill in what `ingest.table` says of files in the table `listed`. An error in it stops the run: users can fix it.

    Raises:
        InputError: the table or its column `file` is missing; a row cannot be read, names a file that is not listed, or
            one that an earlier row names; a time is not a number of seconds. The message has file and line.
    """
    root, table = Path(inputs.params.root), inputs.params.table
    if table is None:
        return
    rows = _read_table(root, table)
    database.create("annotations", _TABLE)
    while batch := list(islice(rows, BATCH_ROWS)):
        database.append("annotations", build_batch(batch, _TABLE))
    _check_unchanged(inputs)
    _compose_names(database)
    _check_repeated(database, table)
    _check_unknown(database, root, table)
    filled = ", ".join(f'coalesce(annotations."{name}", listed."{name}") AS "{name}"' for name in ANNOTATIONS)
    database.execute(
        f"""
        CREATE TABLE annotated AS SELECT listed.* REPLACE ({filled}) FROM listed
        LEFT JOIN annotations ON listed.source = '{ORIGIN}' AND listed.file = annotations.file
        """
    )
    database.execute("DROP TABLE annotations; DROP TABLE listed; ALTER TABLE annotated RENAME TO listed")


def _check_unchanged(inputs: SourceInputs) -> None:
    """Check, after the table was read, that it is what was listed."""
    import pyarrow.compute as pc

    path = Path(inputs.params.root) / str(inputs.params.table)
    found = hash_file(path, follow=True)
    for batch in read_batches(inputs.workspace.data / LISTED_FILES, LISTED, ["file", "sha256"]):
        for sha256 in batch.filter(pc.equal(batch["file"], inputs.params.table))["sha256"].to_pylist():
            if isinstance(found, Rejection) or sha256 not in (None, found.sha256):
                raise InputError(f"{path} changed since it was listed: run `dvc repro` again")


def _read_table(root: Path, table: str) -> Iterator[Row]:
    for row in read_rows(root / table, ["file"], [*TEXT_COLUMNS, *SPAN_COLUMNS]):
        line = f"{table}:{row.line}"
        if isinstance(row, BadRow):
            raise InputError(f"{line}: {row.detail}")
        if row.values["file"] is None:
            raise InputError(f"{line}: the column `file` is empty")
        start, end = (_read_seconds(row, name, line) for name in SPAN_COLUMNS)
        if end is not None and end <= (start or 0.0):
            raise InputError(f"{line}: `end` must be after `start`")
        yield {"line": row.line, **row.values, "start": start, "end": end}


def _read_seconds(row: TextRow, name: str, line: str) -> float | None:
    text = row.values[name]
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{line}: `{name}` is {text!r}, it must be a number of seconds")
    return seconds


def _compose_names(database: Database) -> None:
    """Replace names that are not listed by those that are the same but for their form of Unicode: file systems use
    either form."""
    if not database.fetch(f"SELECT 1 {_UNKNOWN} LIMIT 1"):
        return
    database.add_function("compose", _compose, ["VARCHAR"], "VARCHAR")
    database.execute(
        f"""
        UPDATE annotations SET file = known.file
        FROM (SELECT line {_UNKNOWN}) unknown, (
            SELECT compose(file) AS form, max(file) AS file FROM listed WHERE source = '{ORIGIN}' GROUP BY form
        ) known
        WHERE annotations.line = unknown.line AND compose(annotations.file) = known.form
        """
    )


def _compose(names: "pa.Array") -> "pa.Array":
    import pyarrow as pa

    return pa.array([normalize("NFC", name) for name in names.to_pylist()], pa.string())


def _check_repeated(database: Database, table: str) -> None:
    repeated = database.fetch(
        """
        SELECT line, file FROM annotations SEMI JOIN (
            SELECT file FROM annotations GROUP BY file HAVING count(*) > 1
        ) USING (file)
        QUALIFY row_number() OVER (PARTITION BY file ORDER BY line) > 1 ORDER BY line LIMIT 1
        """
    )
    for line, file in repeated:
        raise InputError(f"{table}:{line}: {file!r} has an earlier row; a file has one row")


def _check_unknown(database: Database, root: Path, table: str) -> None:
    ((count,),) = database.fetch(f"SELECT count(*) {_UNKNOWN}")
    if count:
        shown = database.fetch(f"SELECT line, file {_UNKNOWN} ORDER BY line LIMIT {SHOWN}")
        rows = "; ".join(f"{table}:{line}: {file!r}" for line, file in shown)
        more = f" and {count - SHOWN} more" if count > SHOWN else ""
        raise InputError(f"ingest.table names files that are not in {root}: {rows}{more}")
