"""Read URL lists: csv, jsonl or Parquet tables with a URL a row."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.crawl.params import UrlList
from pipeline.crawl.urls import BadUrl, canonicalize_url
from pipeline.formats.tabular import BadRow, TextRow, read_rows
from pipeline.tables.drops import Drop, Reason


@dataclass(frozen=True, slots=True)
class ListedUrl:
    """A row of a list: a canonical URL and the list's annotations. `key` is `file:line`."""

    key: str
    url: str
    caption: str | None = None
    label: str | None = None
    split: str | None = None
    licence: str | None = None
    attribution: str | None = None


def read_lists(folder: Path, lists: Sequence[UrlList]) -> Iterator[ListedUrl | Drop]:
    """Yield the rows of all lists in their order; a row that cannot be used is a `Drop` with the key `file:line`.

    Raises:
        InputError: a list is missing, damaged as a whole, or lacks a column that its params name.
    """
    uses = Counter(list_.file for list_ in lists)
    for list_ in lists:
        name = list_.file if uses[list_.file] == 1 else f"{list_.file}[{list_.url}]"
        columns = {
            "caption": list_.caption,
            "label": list_.label,
            "split": list_.split,
            "licence": list_.licence,
            "attribution": list_.attribution,
        }
        named = {field: column for field, column in columns.items() if column is not None}
        for row in read_rows(folder / list_.file, list(dict.fromkeys((list_.url, *named.values())))):
            yield _read_row(row, f"{name}:{row.line}", list_.url, named)


def _read_row(row: TextRow | BadRow, key: str, url_column: str, named: dict[str, str]) -> ListedUrl | Drop:
    if isinstance(row, BadRow):
        return Drop(key, row.reason, row.detail)
    text = row.values[url_column]
    if text is None:
        return Drop(key, Reason.EMPTY, "the row has no URL")
    try:
        url = canonicalize_url(text)
    except BadUrl as bad:
        return Drop(key, Reason.BAD_URL, str(bad))
    return ListedUrl(key, url, **{field: row.values[column] for field, column in named.items()})
