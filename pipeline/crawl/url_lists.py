"""Read URL lists: tables with a URL a row, or a URL a line."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pipeline.crawl.params import UrlList
from pipeline.formats.tabular.delimited import Dialect
from pipeline.formats.tabular.read_rows import read_rows
from pipeline.formats.tabular.rows import BadRow, RequestedColumns, TextRow
from pipeline.formats.tabular.span import parse_span
from pipeline.formats.urls import BadUrl, canonicalize_url
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.drops import Drop, Reason


@dataclass(frozen=True, slots=True)
class ListedUrl:
    """A row of a list: a canonical URL, and what the list says of it, by the names of `ANNOTATIONS`."""

    file: str
    line: int
    url: str
    said: Mapping[str, str | float | None] = field(default_factory=dict)


def read_lists(folder: Path, lists: Sequence[UrlList]) -> Iterator[ListedUrl | Drop]:
    """Yield the rows of all lists in their order; a row that cannot be used is a `Drop` with the key `file:line`.

    Raises:
        InputError: a list is missing, damaged as a whole, or lacks a column that its params name.
    """
    uses = Counter(list_.file for list_ in lists)
    for list_ in lists:
        name = list_.file if uses[list_.file] == 1 else f"{list_.file}[{list_.url}]"
        named = {each: column for each in ANNOTATIONS if (column := getattr(list_, each)) is not None}
        columns = RequestedColumns(tuple(dict.fromkeys((list_.url, *named.values()))), repeated=list_.caption)
        plain = list_.file.endswith(".txt")  # a URL a line
        dialect = Dialect(quotes=False, header=(list_.url,)) if plain else None
        for row in read_rows(folder / list_.file, columns, "csv" if plain else None, dialect):
            yield _read_row(row, name, list_.url, named)


def _read_row(row: TextRow | BadRow, name: str, url_column: str, named: dict[str, str]) -> ListedUrl | Drop:
    key = f"{name}:{row.line}"
    if isinstance(row, BadRow):
        return Drop(key, row.reason, row.detail)
    text = row.values[url_column]
    if text is None:
        return Drop(key, Reason.EMPTY, "the row has no URL")
    try:
        url = canonicalize_url(text)
        said = {each: row.values[column] for each, column in named.items()}
        start, end = parse_span(said)
    except BadUrl as bad:
        return Drop(key, Reason.BAD_URL, str(bad))
    except ValueError as fault:
        return Drop(key, Reason.UNREADABLE, str(fault))
    return ListedUrl(name, row.line, url, {**said, "start": start, "end": end})
