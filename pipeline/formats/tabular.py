"""Read tables that people bring: csv, jsonl, parquet. A bad row is a `BadRow` with its line, and the rest is read."""

import csv
import difflib
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import InputError
from pipeline.tables.drops import Reason

if TYPE_CHECKING:
    from pyarrow import RecordBatch

MAX_RECORD_LINES = 100
"""Lines that one quoted csv field may span. A quote that never closes costs its own line, not the rest."""

MAX_FIELD_CHARACTERS = 1 << 20


@dataclass(frozen=True, slots=True)
class TextRow:
    """The requested columns of a row, as text; None where a cell is empty. `line` counts from 1."""

    line: int
    values: dict[str, str | None]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    line: int
    reason: Reason
    detail: str


def read_rows(path: Path, required: Sequence[str], optional: Sequence[str] = ()) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a table in its order; its format follows from its ending: `.csv`, `.jsonl`, `.parquet`.

    Columns in neither list are ignored. A missing `optional` column is None in each row. In a csv file the first line
    names the columns.

    Raises:
        InputError: the file is missing, has another ending, is damaged as a whole, or lacks a required column.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_jsonl, ".parquet": _read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path} is no table: its name must end in {', '.join(readers)}")
    if not path.is_file():
        raise InputError(f"{path} is missing, or not a file")
    return reader(path, required, optional)


def _read_csv(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[TextRow | BadRow]:
    # Undecodable bytes become lone surrogates, so that they cost their own row only.
    lines = io.StringIO(path.read_bytes().decode("utf-8-sig", "surrogateescape"), newline="").readlines()
    header = _parse_record(lines, 0)
    if header is None:
        raise InputError(f"{path} has no header: its first line must name the columns")
    names, next_line = header
    _check_columns(path, names, required, optional)
    while next_line < len(lines):
        line, record = next_line + 1, _parse_record(lines, next_line)
        if record is None:
            next_line += 1
            yield BadRow(line, Reason.UNREADABLE, "quotes that do not close, or a field that is too long")
            continue
        fields, next_line = record
        if fields:  # an empty line holds no row
            yield _build_csv_row(line, names, fields, (*required, *optional))


def _parse_record(lines: list[str], start: int) -> tuple[list[str], int] | None:
    """Return the fields of the record at line index `start`, and the index of the line after it; None if it is bad."""
    csv.field_size_limit(MAX_FIELD_CHARACTERS)
    reader = csv.reader(iter(lines[start : start + MAX_RECORD_LINES]), strict=True)
    try:
        fields = next(reader)
    except (csv.Error, StopIteration):
        return None
    return fields, start + reader.line_num


def _build_csv_row(line: int, names: list[str], fields: list[str], requested: Sequence[str]) -> TextRow | BadRow:
    if len(fields) != len(names):
        return BadRow(line, Reason.UNREADABLE, f"{len(fields)} fields, the header names {len(names)}")
    return _check_text(line, dict(zip(names, fields, strict=True)), requested)


def _check_text(line: int, record: dict[str, Any], requested: Sequence[str]) -> TextRow | BadRow:
    """Return the requested columns as text; numbers and booleans are spelled as in JSON."""
    values: dict[str, str | None] = {}
    for name in requested:
        value = record.get(name)
        if isinstance(value, float) and math.isnan(value):
            value = None  # what pandas writes where a number is missing
        if isinstance(value, bool | int | float):
            value = json.dumps(value)
        if not isinstance(value, str | None):
            return BadRow(line, Reason.UNREADABLE, f"the column {name} holds neither text nor a number")
        if value is not None and not _is_encodable(value):
            return BadRow(line, Reason.NOT_UTF8, f"the column {name} is not valid UTF-8")
        if value is not None and "\0" in value:
            return BadRow(line, Reason.UNREADABLE, f"the column {name} holds a NUL")
        values[name] = (value or "").strip() or None
    return TextRow(line, values)


def _is_encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_jsonl(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[TextRow | BadRow]:
    with path.open("rb") as file:
        for line, content in enumerate(file, start=1):
            if content.strip():
                yield _parse_object(line, content, (*required, *optional))


def _parse_object(line: int, content: bytes, requested: Sequence[str]) -> TextRow | BadRow:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        return BadRow(line, Reason.NOT_UTF8, "the line is not valid UTF-8")
    try:
        record = json.loads(text, object_pairs_hook=_build_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError):  # RecursionError: thousands of nested brackets
        return BadRow(line, Reason.UNREADABLE, "the line is not valid JSON")
    if not isinstance(record, dict):
        return BadRow(line, Reason.UNREADABLE, "the line is not a JSON object")
    return _check_text(line, record, requested)


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    record = dict(pairs)
    if len(record) != len(pairs):
        raise ValueError("a key occurs twice")
    return record


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_parquet(path: Path, required: Sequence[str], optional: Sequence[str]) -> Iterator[TextRow | BadRow]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            names = list(file.schema_arrow.names)
            _check_columns(path, names, required, optional)
            requested = [name for name in (*required, *optional) if name in names]
            line = 0
            for batch in file.iter_batches(columns=requested):
                for record in _list_records(batch):
                    line += 1
                    yield (
                        BadRow(line, Reason.UNREADABLE, "a value that cannot be read")
                        if record is None
                        else _check_text(line, record, (*required, *optional))
                    )
    except (OSError, ValueError, pa.ArrowException) as error:  # ValueError: a column whose name is not UTF-8
        raise InputError(f"{path} is not a Parquet file, or is damaged") from error


def _list_records(batch: "RecordBatch") -> list[dict[str, Any] | None]:
    """Return the rows as Python values; None for one with a value that Python lacks: not UTF-8, a date after 9999."""
    try:
        records: list[dict[str, Any] | None] = batch.to_pylist()
    except (ValueError, OverflowError):
        half = batch.num_rows // 2
        return [*_list_records(batch.slice(0, half)), *_list_records(batch.slice(half))] if half else [None]
    return records


def _check_columns(path: Path, names: list[str], required: Sequence[str], optional: Sequence[str]) -> None:
    for name in required:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(names)}"
            raise InputError(f"{path} has no column {name!r}{hint}")
    twice = [name for name in (*required, *optional) if names.count(name) > 1]
    if twice:
        raise InputError(f"{path} has two columns {twice[0]!r}")
