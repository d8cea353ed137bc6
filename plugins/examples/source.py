"""A kind of `ingest.sources`: the files in a table `files` of SQLite databases.

Its column `name` has the files' names and `content` their bytes. Columns that are called as annotations are (`caption`,
`label`, `group`, …), or that `columns` of the source names, annotate them.
"""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.tar_entries import ReadAt, find_member_fault
from pipeline.ingest.sources.build_annotations import build_annotations, build_facts
from pipeline.ingest.sources.containers import Container, Member, list_containers, list_members
from pipeline.ingest.sources.source import ListedFile, ReadFile, ReadInputs, Source, SourceInputs
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name

if TYPE_CHECKING:
    import pyarrow as pa

KIND = "plugins/examples/source.py:SQLITE"
LIST = "SELECT rowid, name, length(CAST(content AS BLOB)) FROM files ORDER BY rowid"
READ = "SELECT CAST(content AS BLOB) FROM files WHERE rowid = ?"


def list_databases(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the files in all databases; see `list_members`."""
    for container in list_containers(KIND, inputs):
        yield from list_members(container, inputs.params.ignore, partial(list_rows, container.path))


def list_rows(path: Path, read_at: ReadAt, size: int) -> Iterator[Member]:
    """Yield the files of a database, each with its row in place of an offset.

    Raises:
        FormatFault: it is no database with such a table, or damaged.
    """
    try:
        with closing(open_database(path)) as database:
            for row, name, length in database.execute(LIST):
                yield Member(str(name).encode(), row, length or 0, find_member_fault(str(name).encode()))
    except sqlite3.Error as error:
        raise FormatFault("it is no SQLite database with a table `files`, or it is damaged") from error


def open_database(path: Path) -> sqlite3.Connection:
    """Return a database that nothing is written to, also not beside its file."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?immutable=1", uri=True)


def annotate_databases(inputs: SourceInputs) -> "Iterator[pa.Table]":
    """Yield what the other columns say of the file of each row."""
    for container in list_containers(KIND, inputs):
        columns = inputs.params.list_sources()[container.number].columns
        yield from build_annotations(annotate_rows(container, columns))


def annotate_rows(container: Container, columns: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the annotations, up to where the database is damaged, which is a dropped row."""
    with suppress(sqlite3.Error), closing(open_database(container.path)) as database:
        rows = database.execute("SELECT * FROM files ORDER BY rowid")
        names = [column[0] for column in rows.description]
        for row in rows:
            record = dict(zip(names, row, strict=True))
            facts = {name: record[columns.get(name, name)] for name in ANNOTATIONS if columns.get(name, name) in record}
            for said in build_facts(facts):
                yield {"source": container.source, "file": escape_name(str(record["name"]).encode()), **said}


@contextmanager
def open_databases(inputs: ReadInputs) -> Iterator[ReadFile]:
    """Yield how a file is read; a database stays open."""
    with ExitStack() as stack:
        opened: dict[Path, sqlite3.Connection] = {}

        def read(file: ListedFile) -> bytes | Rejection:
            path = inputs.find_container(file)
            try:
                if path not in opened:
                    opened[path] = stack.enter_context(closing(open_database(path)))
                ((content,),) = opened[path].execute(READ, [file.offset])
            except sqlite3.Error:
                return Rejection(Reason.UNREADABLE, "the database cannot be read")
            return bytes(content or b"")

        yield read


SQLITE = Source(list_databases, open_databases, None, annotate_databases)
