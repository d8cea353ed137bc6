"""Read tables of delimited text: csv, tsv, and whatever else has a row a line."""

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow, build_rows, check_columns
from pipeline.formats.tabular.table_encoding import open_table
from pipeline.tables.drops import Reason

MAX_RECORD_LINES = 100
"""Lines that one quoted field may span. A quote that never closes costs its own line, not the rest."""

MAX_FIELD_CHARACTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class Dialect:
    """How the fields of a row are written.

    Attributes:
        quotes: a field in double quotes may hold delimiters and line ends; else quotes are text, and a line is a row.
        header: names of the columns, where the first line does not name them. The last column then has the rest of the
            line, with whatever delimiters are in it, unless fields are quoted.
    """

    delimiter: str = ","
    quotes: bool = True
    header: tuple[str, ...] | None = None


def read_delimited(
    path: Path, columns: RequestedColumns, encoding: str, dialect: Dialect
) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a table; see `pipeline.formats.tabular.read_rows`."""
    with open_table(path, encoding) as file:
        lines = file.readlines()
    names, next_line = dialect.header, 0
    if names is None:
        first = _parse_record(lines, 0, dialect)
        if first is None:
            raise InputError(f"{path} has no header: its first line must name the columns")
        names, next_line = tuple(name.strip() for name in first[0]), first[1]
    check_columns(path, names, columns)
    while next_line < len(lines):
        line, record = next_line + 1, _parse_record(lines, next_line, dialect)
        if record is None:
            next_line += 1
            yield BadRow(line, Reason.UNREADABLE, "quotes that do not close, or a field that is too long")
            continue
        fields, next_line = record
        if len(fields) == len(names):
            yield from build_rows(line, dict(zip(names, fields, strict=True)), columns)
        elif fields:  # an empty line holds no row
            named = "the header names" if dialect.header is None else "`header` names"
            yield BadRow(line, Reason.UNREADABLE, f"{len(fields)} fields, {named} {len(names)}")


def _parse_record(lines: Sequence[str], start: int, dialect: Dialect) -> tuple[list[str], int] | None:
    """Return the fields of the record at line index `start`, and the index of the line after it; None if it is bad."""
    if not dialect.quotes:
        too_long = start < len(lines) and len(lines[start]) > MAX_FIELD_CHARACTERS
        return None if start == len(lines) or too_long else (_split_line(lines[start], dialect), start + 1)
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(iter(lines[start : start + MAX_RECORD_LINES]), delimiter=dialect.delimiter, strict=True)
    try:
        fields = next(reader)
    except (csv.Error, StopIteration):
        return None
    return fields, start + reader.line_num


def _split_line(line: str, dialect: Dialect) -> list[str]:
    """Return the fields of a line without quotes; none for an empty line."""
    text = line.rstrip("\r\n")
    return text.split(dialect.delimiter, -1 if dialect.header is None else len(dialect.header) - 1) if text else []
