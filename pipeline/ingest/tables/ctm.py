"""Read CTM files, as speech recognizers and NIST's tools write them: file, channel, start, duration and word a line."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.ingest.tables.transcripts import build_row, read_text
from pipeline.tables.drops import Reason


def read_ctm(path: Path, table: AnnotationTable) -> Iterator[TextRow | BadRow]:
    """Yield a row for each word. Lines that begin with `;;` are comments."""
    text = read_text(path, table)
    if isinstance(text, BadRow):
        yield text
        return
    for line, content in enumerate(text.split("\n"), start=1):
        fields = content.split()
        if not fields or fields[0].startswith(";;"):
            continue
        try:
            file, _, start, seconds, word = fields[:5]
            end = float(start) + float(seconds)
        except ValueError:
            yield BadRow(line, Reason.UNREADABLE, "not file, channel, start, duration and word")
        else:
            yield build_row(line, word, table, file=file, start=start, end=repr(end))
