"""Read the texts in the rows of csv, tsv and JSON tables: each is a file, `train/000000012.txt` of line 12 of
`train.csv`, whose other columns annotate it.

The texts are first copied into a tar in the work folder, as files are read in the order of their names.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.formats.tabular.read_rows import TABLE_FORMATS, read_rows
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow
from pipeline.formats.tabular.table_encoding import find_encoding
from pipeline.formats.tar_entries import ReadAt
from pipeline.ingest.sources.build_annotations import build_annotations, build_facts
from pipeline.ingest.sources.containers import Container, Member, list_containers, list_members
from pipeline.ingest.sources.source import Source, SourceInputs
from pipeline.ingest.sources.tar import open_tars
from pipeline.tables.blob_store import TarWriter
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = "caption"
"""The annotation whose column has the texts."""

NO_TEXT = Rejection(Reason.EMPTY, "a row without a text")


def list_rows(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the texts of all tables, and a drop for each row that cannot be used.

    Raises:
        InputError: a table is damaged as a whole, lacks a column, or is of no known format.
    """
    for container in list_containers("rows", inputs):
        spooled = inputs.spool / f"{container.sha256.hex()}.tar"
        yield from list_members(container, inputs.params.ignore, partial(_spool, container, inputs, spooled))


def _spool(container: Container, inputs: SourceInputs, target: Path, read_at: ReadAt, size: int) -> Iterator[Member]:
    """Copy the texts of a table into a tar, and yield where they are there."""
    target.unlink(missing_ok=True)
    with TarWriter(target) as tar:
        for row in read_table_rows(container, inputs):
            name = name_row(container, row.line).encode()
            if isinstance(row, BadRow):
                yield Member(name, 0, 0, Rejection(row.reason, row.detail))
                continue
            data = (row.values[TEXT] or "").encode()
            yield Member(name, tar.write(f"{row.line}", data) if data else 0, len(data), None if data else NO_TEXT)


def read_table_rows(container: Container, inputs: SourceInputs) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a table with the text and the annotations that it has, by the names of these.

    Raises:
        InputError: as `list_rows` says.
    """
    given = inputs.params.list_sources()[container.number].columns
    columns = {name: given.get(name, name) for name in ANNOTATIONS}
    ending = PurePosixPath(container.file).suffix[1:].lower()
    if ending not in TABLE_FORMATS:
        raise InputError(
            f"{container.file} is no table of kind rows: its name must end in .{', .'.join(TABLE_FORMATS)}"
        )
    named = [columns.pop(TEXT), *(column for name, column in columns.items() if name in given)]
    encoding = find_encoding(container.path, None, inputs.params.default_language).codec
    optional = tuple(column for column in columns.values() if column not in named)
    for row in read_rows(container.path, RequestedColumns(named, optional), ending, encoding=encoding):
        if isinstance(row, TextRow):
            values = {name: row.values[column] for name, column in columns.items()}
            row = TextRow(row.line, {TEXT: row.values[named[0]], **values})
        yield row


def name_row(container: Container, line: int) -> str:
    """Return the name of a row's file: the table's without its ending, and the line, from 1 on."""
    return f"{PurePosixPath(container.file).with_suffix('')}/{line:09d}.txt"


def annotate_rows(inputs: SourceInputs) -> "Iterator[pa.Table]":
    """Yield what the other columns say of the texts."""
    for container in list_containers("rows", inputs):
        yield from build_annotations(_annotate(container, inputs))


def _annotate(container: Container, inputs: SourceInputs) -> Iterator[dict[str, Any]]:
    for row in read_table_rows(container, inputs):
        if isinstance(row, TextRow) and row.values[TEXT]:
            place = {"source": container.source, "file": escape_name(name_row(container, row.line).encode())}
            facts = {name: value for name, value in row.values.items() if name != TEXT and value is not None}
            yield from ({**place, **said} for said in build_facts(facts) if facts)


ROWS = Source(list_rows, open_tars, None, annotate_rows)
