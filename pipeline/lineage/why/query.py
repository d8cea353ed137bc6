"""Read a query: list the URLs, files and names in the stage tables that a word of the command line may mean."""

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import urldefrag, urlsplit, urlunsplit

from pipeline.inputs.params import SourceParams
from pipeline.lineage.why.local_paths import name_local
from pipeline.tables.item_names import name_file, name_url

MAX_SEPARATORS = 16
"""Colons and hash signs of a name that may end a source or begin a part; a host has no more."""


@dataclass(frozen=True)
class Query:
    """A word of the command line, and what it may mean.

    Attributes:
        text: the word; bytes that are not UTF-8 are escaped as in the stage tables. May also be a key or an id.
        urls: the URLs that it may be.
        files: the paths inside a source that it may be, or that a response to one of the URLs has.
        names: the names of files and items that it may be.
        members: what the names begin with of the members of archives that it may be, where they are dropped.
    """

    text: str
    urls: tuple[str, ...]
    files: tuple[str, ...]
    names: tuple[str, ...]
    members: tuple[str, ...] = ()

    def matches(self, source: str, file: str, part: str | None = None) -> bool:
        """Return whether it may mean this file, or this part of it."""
        name = name_file(source, file)
        if part is not None:
            return f"{name}#{part}" in self.names
        return name in self.names or file == self.text


def read_query(word: str, sources: Sequence[SourceParams]) -> Query:
    """Return the query for a word; with the sources of local files, below which it may name a file on disk."""
    text = os.fsencode(word).decode("utf-8", "backslashreplace")
    local = list(name_local(word, sources))
    names = [text, *(found.name for found in local)]
    urls = tuple(_list_urls(text))
    files = [*_list_files(names), *(name_url(url)[1] for url in urls[1:])]
    members = (found.dropped for found in local if found.dropped)
    return Query(text, urls, tuple(dict.fromkeys(files)), tuple(dict.fromkeys(names)), tuple(members))


def _list_urls(text: str) -> Iterable[str]:
    """Yield the spellings of a URL that the tables may have: as it is, and as a crawl would have written it."""
    yield text
    try:
        parts = urlsplit(urldefrag(text).url)
    except ValueError:
        return
    if parts.scheme and parts.netloc:
        yield urlunsplit((parts.scheme.lower(), parts.netloc.lower(), parts.path or "/", parts.query, ""))


def _list_files(names: Iterable[str]) -> Iterable[str]:
    """Yield the paths that these names may mean: `a:b#c` may be a file of this name, the file `b#c` of the source `a`,
    or the part `c` of its file `b`."""
    for name in names:
        for start in [0, *_find_ends(":", name)]:
            file = name[start:]
            yield file
            yield from (file[: end - 1] for end in _find_ends("#", file) if end > 1)


def _find_ends(separator: str, text: str) -> list[int]:
    """Return the ends of the first separators."""
    return [found.end() for found in islice(re.finditer(separator, text), MAX_SEPARATORS)]
