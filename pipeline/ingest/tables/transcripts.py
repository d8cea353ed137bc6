"""Share what the readers of transcripts have in common: decoding, and rows of a span and a text."""

from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.formats.tabular.table_encoding import find_encoding
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.tables.drops import Reason


def read_text(path: Path, table: AnnotationTable) -> str | BadRow:
    """Return the text of a file in the encoding of the table, without a byte order mark.

    Raises:
        InputError: the file is missing.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"{path} is missing, or cannot be read") from None
    try:
        text = content.decode(table.encoding or find_encoding(path, None, "en").codec)
    except UnicodeDecodeError:
        return BadRow(1, Reason.NOT_UTF8, "the transcript has bytes that are not text in its encoding")
    return BadRow(1, Reason.UNREADABLE, "the transcript holds a NUL") if "\0" in text else text


def build_row(line: int, text: str, table: AnnotationTable, **values: str | None) -> TextRow | BadRow:
    """Return the row of a text, which is the caption, or what `columns` says; `values` are by name."""
    stripped = " ".join(text.split())
    if not stripped:
        return BadRow(line, Reason.EMPTY, "no text")
    return TextRow(line, {**values, **dict.fromkeys(table.columns or ("caption",), stripped)})
