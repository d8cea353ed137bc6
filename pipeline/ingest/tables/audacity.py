"""Read label tracks as Audacity exports them: start, end and text of a label a line, separated by tabs."""

from collections.abc import Iterator
from pathlib import Path

from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.ingest.tables.transcripts import build_row, read_text
from pipeline.tables.drops import Reason


def read_labels(path: Path, table: AnnotationTable) -> Iterator[TextRow | BadRow]:
    r"""Yield a row for each label. A line that begins with `\` has the frequencies of the label before it."""
    text = read_text(path, table)
    if isinstance(text, BadRow):
        yield text
        return
    for line, content in enumerate(text.split("\n"), start=1):
        fields = content.rstrip("\r").split("\t", 2)
        if fields == [""] or fields[0] == "\\":
            continue
        if len(fields) < 3:
            yield BadRow(line, Reason.UNREADABLE, "not start, end and text, separated by tabs")
        else:
            start, end = (field.replace(",", ".") for field in fields[:2])  # some languages write a comma
            yield build_row(line, fields[2], table, start=start, end=end)
