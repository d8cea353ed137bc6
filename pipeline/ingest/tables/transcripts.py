"""Share what the readers of transcripts have in common: decoding, and rows of a span and a text."""

from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.tables.drops import Reason


def read_text(path: Path) -> str | BadRow:
    """Return the text of a file in UTF-8, or in UTF-16 with a byte order mark, which is removed.

    Raises:
        InputError: the file is missing.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"{path} is missing, or cannot be read") from None
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError:
        return BadRow(1, Reason.NOT_UTF8, "the transcript is not valid UTF-8")
    return BadRow(1, Reason.UNREADABLE, "the transcript holds a NUL") if "\0" in text else text


def build_row(line: int, text: str, table: AnnotationTable, **values: str | None) -> TextRow | BadRow:
    """Return the row of a text, which is the caption, or what `columns` says; `values` are by name."""
    stripped = " ".join(text.split())
    if not stripped:
        return BadRow(line, Reason.EMPTY, "no text")
    return TextRow(line, {**values, **dict.fromkeys(table.columns or ("caption",), stripped)})
