"""Read the tables of `ingest.tables`: which files they are, and their rows as annotations. Pure but for the reading."""

import posixpath
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import InputError
from pipeline.formats.encodings import find_codec
from pipeline.formats.tabular.read_rows import PARQUET
from pipeline.formats.tabular.rows import BadRow, TextRow
from pipeline.formats.tabular.span import parse_span
from pipeline.formats.tabular.table_encoding import find_encoding
from pipeline.ingest.params import IngestParams
from pipeline.ingest.tables.annotation_table import AnnotationTable
from pipeline.ingest.tables.table import COMPANIONS, TABLE_KINDS
from pipeline.inputs.kinds import FOLDER
from pipeline.inputs.read_file import locate_file
from pipeline.tables.columns import Columns, Row
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.item_names import name_file

TABLE_ROWS: Columns = {
    "entry": "int64?",  # the place of the table among those of the params; null: a source says it
    "line": "string?",  # `captions.csv:12`
    "source": "string",
    "file": "string",
    **ANNOTATIONS,
}
"""A row that says something of a file, before it is known whether the file is there."""

LANGUAGE = r"\.([a-z]{2,3})(?:-[A-Za-z0-9]+)?$"
"""The language in the name of a transcript: `talk.en.srt` without its ending."""

_TEXTS = tuple(name for name in ANNOTATIONS if name not in ("start", "end"))


@dataclass(frozen=True, eq=False)
class TableFile:
    """A table: its place among those of the params, the setting that names it, its path below `ingest.root`, and the
    language that its encoding is guessed by."""

    entry: int
    setting: str
    table: AnnotationTable
    path: str
    language: str

    def read(self, root: Path, place: str) -> Iterator[Row | Drop]:
        """Yield the rows with the columns `TABLE_ROWS`, a drop with the key `path:line` for each that is bad, and one
        for the table if its encoding was guessed.

        Args:
            root: the folder that `path` is below.
            place: what it is a copy of, if it is one: names of files may begin with that.

        Raises:
            InputError: the table is missing or damaged as a whole.
        """
        locate = _Locator(self.table, self.path, place)
        path = Path(locate_file(root, self.path))
        table = self.table
        if table.find_kind() != PARQUET:
            given = None if table.encoding is None else find_codec(table.encoding)
            found = find_encoding(path, given, self.language)
            table = table.model_copy(update={"encoding": found.codec})
            if found.guessed:
                key = name_file(FOLDER, self.path)
                yield Drop(key, Reason.GUESSED_ENCODING, "the encoding was guessed", found.codec, setting=self.setting)
        for row in TABLE_KINDS[table.find_kind() or ""](path, table):
            line = f"{self.path}:{row.line}"
            if isinstance(row, BadRow):
                yield Drop(line, row.reason, row.detail, setting=self.setting)
            else:
                yield self._build_row(row, line, locate)

    def list_paths(self) -> list[str]:
        """Return the paths of the files that it consists of."""
        companions = COMPANIONS.get(self.table.find_kind() or "", ())
        return [self.path, *(posixpath.join(posixpath.dirname(self.path), name) for name in companions)]

    def _build_row(self, row: TextRow, line: str, locate: "_Locator") -> Row | Drop:
        try:
            start, end = parse_span(row.values)
            file = locate.find(row.values["file"]) if "file" in row.values else posixpath.splitext(self.path)[0]
        except ValueError as fault:
            return Drop(line, Reason.UNREADABLE, str(fault), setting=self.setting)
        place = {"entry": self.entry, "line": line}
        texts = {name: row.values.get(name) for name in _TEXTS}
        if "file" not in row.values and (language := re.search(LANGUAGE, file)):
            texts["language"] = language[1]
        return {**place, "source": self.table.source, "file": file, **texts, "start": start, "end": end}


@dataclass(frozen=True, slots=True)
class _Locator:
    """Finds the paths below `root`, a folder or a URL, that a table's names of files mean."""

    table: AnnotationTable
    path: str
    root: str

    def find(self, name: str | None) -> str:
        """Return the path that a row's name of a file means.

        Raises:
            ValueError: it is empty.
        """
        if name is None:
            raise ValueError("the column `file` is empty")
        if name.startswith(f"{self.root}/"):
            return posixpath.normpath(name[len(f"{self.root}/") :])
        folder = posixpath.dirname(self.path) if self.table.folder == "." else self.table.folder
        return posixpath.normpath(posixpath.join(folder, name + self.table.ending))


def find_tables(params: IngestParams, match: Callable[[str], list[str]]) -> list[TableFile]:
    """Return the tables of the params in their order.

    Args:
        params: with the tables.
        match: returns the files below `root` whose whole names match a regular expression.

    Raises:
        InputError: no file matches the pattern of a table; the message names it.
    """
    tables = []
    for entry, table in enumerate(params.annotation_tables):
        paths = match(_translate(table.path)) if table.is_pattern else [table.path]
        if not paths:
            raise InputError(f"ingest.tables: no file below {params.name_table_folder()} matches {table.path!r}")
        setting, language = params.name_table(entry), params.default_language
        tables += [TableFile(entry, setting, table, path, language) for path in paths]
    return tables


def _translate(path: str) -> str:
    """Return the regular expression for a path with `*`, `**/` and `?`."""
    pieces = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}
    return "".join(pieces.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*/|\*|\?)", path))
