"""What somebody may mean by a word: a sample's key, an item's id, a URL, or a file by any of its names."""

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import urldefrag, urlsplit, urlunsplit

from pipeline.tables.item_names import escape_name, name_file

LOCAL = "folder"
"""The source of files below `ingest.root`."""

MAX_MARKS = 16
"""Colons and hash signs of a name that may end a source or begin a part; a host has no more."""


@dataclass(frozen=True)
class Query:
    """What was asked for.

    Attributes:
        text: as it was written, what is not UTF-8 as in the ledgers.
        urls: the URLs that it may be.
        files: the paths inside a source that it may be.
        names: the names in a ledger that it may be; every text may be one.
    """

    text: str
    urls: tuple[str, ...]
    files: tuple[str, ...]
    names: tuple[str, ...]

    def fits(self, source: str, file: str, part: str | None = None) -> bool:
        """Whether it means this file, or this part of it."""
        name = name_file(source, file)
        if part is not None:
            return f"{name}#{part}" in self.names
        return name in self.names or file == self.text


def read_query(word: str, root: Path | None) -> Query:
    """The query for a word of the command line; `root` is `ingest.root`, below which files on disk are looked for."""
    text = os.fsencode(word).decode("utf-8", "backslashreplace")
    names = [text]
    if root is not None and (local := _name_local(word, root)):
        names.append(name_file(LOCAL, local))
    return Query(text, tuple(_list_urls(text)), tuple(dict.fromkeys(_list_files(names))), tuple(names))


def _name_local(word: str, root: Path) -> str | None:
    """The name of a path on disk below `root`; None for any other. It need not be there any more."""
    if "\0" in word:
        return None
    path, base = (Path(os.path.abspath(place)) for place in (word, root))  # noqa: PTH100 (links are not followed)
    return escape_name(os.fsencode(path.relative_to(base))) if path != base and path.is_relative_to(base) else None


def _list_urls(text: str) -> Iterable[str]:
    """The spellings of a URL under which it may be in the tables: as it is, and as a crawl would have written it."""
    yield text
    try:
        parts = urlsplit(urldefrag(text).url)
    except ValueError:
        return
    if parts.scheme and parts.netloc:
        yield urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path or "/", parts.query, ""))


def _list_files(names: Iterable[str]) -> Iterable[str]:
    """The paths that these names may mean: `a:b#c` may be a file of that name, `b#c` of the source `a`, or `b` of it
    with the part `c`."""
    for name in names:
        for start in [0, *_find_ends(":", name)]:
            file = name[start:]
            yield file
            yield from (file[: end - 1] for end in _find_ends("#", file) if end > 1)


def _find_ends(mark: str, text: str) -> list[int]:
    """Where the first marks end."""
    return [found.end() for found in islice(re.finditer(mark, text), MAX_MARKS)]
