"""The table in which a user says what is known about the files of the folder."""

import math
from collections.abc import Collection
from pathlib import Path
from unicodedata import normalize

from pipeline.errors import InputError
from pipeline.formats.tabular import BadRow, TextRow, read_rows
from pipeline.ingest.source_file import FileAnnotations

TEXT_COLUMNS = ("caption", "label", "group", "split", "licence", "attribution", "language", "sample")
SPAN_COLUMNS = ("start", "end")


def read_said(root: Path, table: str, files: Collection[str]) -> dict[str, FileAnnotations]:
    """What the table at `root/table` says, by file. A user's own table is to be right: any fault in it stops the run.

    Raises:
        InputError: the table or its column `file` is missing; a row cannot be read, names a file that is not among
            `files`, or one that an earlier row names; a time is no number of seconds. The message has file and line.
    """
    said: dict[str, FileAnnotations] = {}
    missing = []
    composed = {normalize("NFC", file): file for file in sorted(files)}  # file systems differ in their form
    for row in read_rows(root / table, ["file"], [*TEXT_COLUMNS, *SPAN_COLUMNS]):
        place = f"{table}:{row.line}"
        if isinstance(row, BadRow):
            raise InputError(f"{place}: {row.detail}")
        file = row.values["file"]
        if file is None:
            raise InputError(f"{place}: the row names no file")
        if file not in files:
            file = composed.get(normalize("NFC", file), file)
        if file in said:
            raise InputError(f"{place}: {file!r} was named before, a file has one row")
        if file not in files:
            missing.append(f"{place}: {file!r}")
        said[file] = _read_row(row, place)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"the table names files that are not in {root}: {'; '.join(missing[:3])}{more}")
    return said


def _read_row(row: TextRow, place: str) -> FileAnnotations:
    start, end = (_read_seconds(row, name, place) for name in SPAN_COLUMNS)
    if end is not None and end <= (start or 0.0):
        raise InputError(f"{place}: `end` is not after `start`")
    return FileAnnotations(**{name: row.values[name] for name in TEXT_COLUMNS}, start=start, end=end)


def _read_seconds(row: TextRow, name: str, place: str) -> float | None:
    text = row.values[name]
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{place}: `{name}` is {text!r}, it should be a number of seconds")
    return seconds
