"""Define a row of a table that people bring, and make one from the values that a parser found."""

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.tables.drops import Reason


@dataclass(frozen=True, slots=True)
class TextRow:
    """The requested columns of a row, as text; None where a cell is empty. `line` counts from 1."""

    line: int
    values: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read, and why."""

    line: int
    reason: Reason
    detail: str


@dataclass(frozen=True, slots=True)
class RequestedColumns:
    """The columns to read of a table; it may have others.

    Attributes:
        required: the table must have them.
        optional: None in each row where the table lacks them.
        repeated: one of them whose cells may hold a list of texts, which gives a row for each text.
    """

    required: Sequence[str]
    optional: Sequence[str] = ()
    repeated: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all columns."""
        return (*self.required, *self.optional)


def build_rows(line: int, record: Mapping[str, Any], columns: RequestedColumns) -> Iterator[TextRow | BadRow]:
    """Yield the rows of a record: the requested columns as text; numbers and booleans are spelled as in JSON."""
    texts = record.get(columns.repeated) if columns.repeated else None
    if columns.repeated is None or not isinstance(texts, list):
        yield _build_row(line, record, columns.names)
        return
    for text in texts or [None]:
        yield _build_row(line, {**record, columns.repeated: text}, columns.names)


def _build_row(line: int, record: Mapping[str, Any], names: Sequence[str]) -> TextRow | BadRow:
    values: dict[str, str | None] = {}
    for name in names:
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


def check_columns(path: Path, names: Sequence[str], columns: RequestedColumns) -> None:
    """Check that a table has the required columns, and none of the requested ones twice.

    Raises:
        InputError: it does not; the message names the file, the column and those that there are.
    """
    for name in columns.required:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(names)}"
            raise InputError(f"{path} has no column {name!r}{hint}")
    twice = [name for name in columns.names if names.count(name) > 1]
    if twice:
        raise InputError(f"{path} has two columns {twice[0]!r}")
