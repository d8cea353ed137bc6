"""Define the params of a table that says something of files."""

from typing import Annotated, Self

from pydantic import Field, model_validator

from pipeline.config.params import OneOf, Params
from pipeline.formats.encodings import find_codec
from pipeline.ingest.tables.table import TABLE_KINDS
from pipeline.tables.contracts import ANNOTATIONS

KINDS_BY_ENDING = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".jsonl": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".ctm": "ctm",
    ".srt": "subtitles",
    ".vtt": "subtitles",
    ".TextGrid": "textgrid",
}

TRANSCRIPTS = ("audacity", "ctm", "kaldi", "subtitles", "textgrid")

_KNOWN_ENCODINGS = "it must be an encoding that browsers know, such as windows-1252, shift_jis, gb18030 or utf-16"

NAMED_COLUMNS = ("file", *ANNOTATIONS)


class AnnotationTable(Params):
    """A table that says something of files: any number of rows a file."""

    path: Annotated[str, Field(pattern=r"^[^/]")]
    """Path below `ingest.root`; with `*` (any characters but slashes), `**/` (any folders) or `?`, all files that
    match are tables, `talks/**/*.srt` for example."""
    kind: Annotated[str, OneOf(TABLE_KINDS)] | None = None
    """What the table is; null: as its name ends. A transcript (`audacity`, `subtitles`, `textgrid`) is of the recording
    beside it that has its name but for the ending. `kaldi` is the file `text` of a Kaldi data folder, `ctm` names the
    recordings itself."""
    columns: dict[Annotated[str, OneOf(NAMED_COLUMNS)], str] = Field(default={})
    """The table's own names for `file` (a path below `ingest.root`) and for `caption`, `label`, `group`, `split`,
    `licence`, `attribution`, `language`, `sample`, `start` and `end` (seconds), where they differ. The texts of
    transcripts are called `text`: `{label: text}` makes them labels."""
    delimiter: Annotated[str, Field(min_length=1)] | None = None
    """What separates the fields of a csv or tsv table; null: a comma or a tab."""
    quotes: bool | None = None
    """Whether a field may be in double quotes; null: only if a comma separates the fields."""
    header: Annotated[tuple[str, ...], Field(strict=False, min_length=1)] | None = None
    """Names of the columns, if the first line of a csv or tsv table does not name them. Without quotes the last column
    has the rest of the line, whatever is in it."""
    encoding: str | None = None
    """Of a text without a byte order mark: a name that browsers know (`windows-1252`, `shift_jis`, `gb18030`,
    `utf-16`); null: UTF-8 if most lines are, else a guess, for which `default_language` counts, and a dropped row of
    the unit `part` says so."""
    tier: str | None = None
    """Tier of a TextGrid that has several."""
    folder: str = ""
    """Folder below `ingest.root` that the names of files are relative to; `.` is that of the table."""
    ending: str = ""
    """Added to the names of files: `.jpg` for example. A name without it is also found by itself, if one file only has
    that name but for its ending."""
    source: str = "folder"
    """Where the files are from: `folder`, or the host that they were crawled from."""

    @property
    def is_pattern(self) -> bool:
        """Return whether `path` may stand for several tables."""
        return any(character in self.path for character in "*?")

    def find_kind(self) -> str | None:
        """Return the kind; None where the name does not say it."""
        return self.kind or next((kind for end, kind in KINDS_BY_ENDING.items() if self.path.endswith(end)), None)

    @model_validator(mode="after")
    def _check_kind(self) -> Self:
        kind = self.find_kind()
        if kind is None:
            raise self.refuse("kind", f"it must say what {self.path} is, as its name does not end in a known way")
        if kind in TRANSCRIPTS and set(self.columns.values()) - {"text"}:
            raise self.refuse("columns", f"all its values must be text, as {self.path} is {kind}")
        if self.tier is not None and kind != "textgrid":
            raise self.refuse("tier", f"it must be left out: {self.path} is {kind}, not textgrid")
        if self.encoding is not None and (kind == "parquet" or find_codec(self.encoding) is None):
            clause = "it must be left out: a Parquet table has none" if kind == "parquet" else _KNOWN_ENCODINGS
            raise self.refuse("encoding", clause)
        delimited = [name for name in ("delimiter", "quotes", "header") if getattr(self, name) is not None]
        if delimited and kind not in ("csv", "tsv"):
            raise self.refuse(delimited[0], f"it must be left out: {self.path} is {kind}, not csv or tsv")
        return self
