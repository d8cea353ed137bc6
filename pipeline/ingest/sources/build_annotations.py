"""Turn what a row or a sample of a source says of its files into rows of annotations."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from pipeline.formats.tabular.rows import BadRow, RequestedColumns, build_rows
from pipeline.formats.tabular.span import parse_span
from pipeline.ingest.sources.source import ANNOTATED, fill_columns

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 10_000


def build_facts(facts: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield annotations with these values as text; a list of captions gives several. A value that is neither text nor a
    number, and a span that is none, say nothing."""
    for found in build_rows(0, facts, RequestedColumns((), tuple(facts), "caption")):
        if isinstance(found, BadRow):
            continue
        try:
            start, end = parse_span(found.values)
        except ValueError:
            start, end = None, None
        yield {**found.values, "start": start, "end": end}


def build_annotations(rows: Iterable[Mapping[str, Any]]) -> "Iterator[pa.Table]":
    """Yield rows with some of the columns `ANNOTATED` as tables."""
    remaining = iter(rows)
    while batch := list(islice(remaining, BATCH_ROWS)):
        yield fill_columns(ANNOTATED, {name: [row.get(name) for row in batch] for name in ANNOTATED})
