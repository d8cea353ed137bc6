"""List the kinds of tables: to add one, write a module with a function that reads it and add its row here."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.formats.tabular.rows import BadRow, TextRow

if TYPE_CHECKING:
    from pipeline.ingest.tables.annotation_table import AnnotationTable

ReadTable = Callable[[Path, "AnnotationTable"], Iterator[TextRow | BadRow]]
"""Yields the rows of a table in its order, whose values have the key `file` and any of `ANNOTATIONS`, as text.

A row without a file is of the media file beside the table, which has its name but for the ending. Raises `InputError`
if the table is missing or damaged as a whole.
"""

TABLE_KINDS: LazyTable[ReadTable] = LazyTable(
    {
        **dict.fromkeys(
            ("csv", "tsv", "jsonl", "json", "parquet"), LazyObject("pipeline.ingest.tables.columns:read_columns")
        ),
        "audacity": LazyObject("pipeline.ingest.tables.audacity:read_labels"),
        "ctm": LazyObject("pipeline.ingest.tables.ctm:read_ctm"),
        "kaldi": LazyObject("pipeline.ingest.tables.kaldi:read_kaldi"),
        "subtitles": LazyObject("pipeline.ingest.tables.subtitles:read_subtitles"),
        "textgrid": LazyObject("pipeline.ingest.tables.textgrid:read_textgrid"),
    }
)

COMPANIONS: Mapping[str, tuple[str, ...]] = {"kaldi": ("wav.scp", "segments", "utt2spk", "spk2utt")}
"""By the kind of a table, the files beside it that belong to it, where they exist."""
