"""Find what a query matches: files, URLs that gave none, samples, rows of URL lists; or else similar names."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from pipeline.lineage.stage_tables import MAX_HITS, StageTables, list_numbers, select_hits
from pipeline.lineage.why.query import Query
from pipeline.tables.item_names import name_file, name_url

if TYPE_CHECKING:
    import pyarrow as pa

PIECE = 4
"""Characters of a piece: with one wrong letter, all but one of a name's pieces still match."""

MAX_PIECES = 16
"""The last pieces of a name are compared: paths differ at their ends."""

MAX_POOL = 500
"""Names that are compared letter by letter, about 50 µs each."""

MAX_COMPARED = 200
"""The last characters of a name, which are compared."""

MIN_RATIO = 0.6
"""As in `difflib.get_close_matches`."""


class NearNames:
    """The names most similar to `name` of all that were added; needs the memory of `MAX_POOL` names."""

    def __init__(self, name: str) -> None:
        self._name = name.lower()
        self._pieces = cut_pieces(self._name)
        self._pool: dict[str, int] = {}

    def add(self, names: "pa.Array") -> None:
        """Add names, strings without null."""
        import pyarrow.compute as pc

        lower = pc.ascii_lower(names)
        hits = np.zeros(len(names), np.int64)
        for piece in self._pieces:
            hits += pc.match_substring(lower, pattern=piece).to_numpy(zero_copy_only=False)
        best = np.argsort(-hits, kind="stable")[:MAX_POOL]
        best = best[2 * hits[best] >= max(1, len(self._pieces))]
        self._pool |= zip(names.take(best).to_pylist(), hits[best].tolist(), strict=True)
        if len(self._pool) > MAX_POOL:
            self._pool = dict(sorted(self._pool.items(), key=lambda named: (-named[1], named[0]))[:MAX_POOL])

    def rank(self, limit: int) -> list[str]:
        """Return the most similar names, the most similar first, down to `MIN_RATIO`."""
        rated = sorted((-self._rate(name), name) for name in self._pool)
        return [name for rate, name in rated if -rate >= MIN_RATIO][:limit]

    def _rate(self, name: str) -> float:
        """Return the similarity, 0 to 1; 1 more if the name contains it."""
        name = name.lower()
        within = len(self._name) >= PIECE and self._name in name
        ratio = SequenceMatcher(None, self._name[-MAX_COMPARED:], name[-MAX_COMPARED:], autojunk=False).ratio()
        return ratio + within


def cut_pieces(name: str) -> list[str]:
    """Return the name's last distinct pieces of up to four letters or digits; its halves if there is only one."""
    end = name[-MAX_COMPARED:]
    words = re.findall(r"\w+", end)
    pieces = list(dict.fromkeys(word[at : at + PIECE] for word in words for at in range(0, len(word), PIECE)))
    half = (len(end) + 1) // 2
    return pieces[-MAX_PIECES:] if len(pieces) > 1 else [piece for piece in (end[:half], end[half:]) if piece]


@dataclass(frozen=True)
class QueryMatch:
    """One match of a query: a file, a URL, an item, or a key.

    Attributes:
        file: source and path of a file, or None.
        url: its URL, or one that gave no file, or None.
        item: the number of the one item of the file that matches, or None for all of its items.
        id: of that item.
        key: of a sample, or of a row of a URL list; all else is None then.
    """

    file: tuple[str, str] | None = None
    url: str | None = None
    item: int | None = None
    id: str | None = None
    key: str | None = None

    @property
    def name(self) -> str:
        """Return a name that matches this alone."""
        return self.key or self.id or (name_file(*self.file) if self.file else self.url or "")


ID = re.compile("[0-9a-f]{64}")


def find_matches(tables: StageTables, query: Query) -> list[QueryMatch]:
    """Return all matches of the query: the item with this id or the sample with this key, else all files and URLs with
    this name. A URL that others only redirect to is the last resort.

    Raises:
        InputError: a table is missing from its folder, or damaged.
    """
    if exact := list(_find_exact(tables, query)):
        return exact
    matches = [*_find_items(tables, query), *_find_crawled(tables, query, "url"), *_find_dropped(tables, query)]
    return _merge(matches or list(_find_crawled(tables, query, "final_url")))


def _find_exact(tables: StageTables, query: Query) -> Iterator[QueryMatch]:
    if ID.fullmatch(query.text) and len(numbers := tables.find("ingest", "id", [query.text])):
        for number, row in tables.name_items(numbers.tolist()).items():
            yield QueryMatch((row["source"], row["file"]), row["url"], number, query.text)
    elif tables.find_sample(query.text):
        yield QueryMatch(key=query.text)


def _find_items(tables: StageTables, query: Query) -> Iterator[QueryMatch]:
    for number, row in tables.name_items(tables.find_files(query.files)[:MAX_HITS].tolist()).items():
        file = row["source"], row["file"]
        if row["part"] and query.matches(*file, row["part"]):
            id_ = tables.select("ingest", [number], ["id"])[number]["id"]
            yield QueryMatch(file, row["url"], number, id_)
        elif row["url"] in query.urls or query.matches(*file):
            yield QueryMatch(file, row["url"])


def _find_crawled(tables: StageTables, query: Query, column: str) -> Iterator[QueryMatch]:
    for row in tables.find_rows("crawl", column, query.urls, ["url", "reason"]).values():
        yield QueryMatch(None if row["reason"] else name_url(row["url"]), row["url"])


def _find_dropped(tables: StageTables, query: Query) -> Iterator[QueryMatch]:
    """Yield files without items, rows of URL lists, and keys that only a later stage's table has."""
    import pyarrow.compute as pc

    for row in tables.find_dropped("ingest", {*query.names, *query.urls}):
        yield _match_file(tables, row["key"])
    if dropped := tables.open_dropped("ingest"):
        ending = dropped.search("key", lambda keys: pc.ends_with(keys, pattern=f":{query.text}"))
        for row in select_hits(dropped, ending):
            yield _match_file(tables, row["key"])
        if query.members:
            within = dropped.search("key", lambda keys: _begin_with(keys, query.members))
            yield from (_match_file(tables, row["key"]) for row in select_hits(dropped, within))
    for row in tables.find_dropped("crawl", [query.text]):
        if not len(tables.find("crawl", "url", [row["key"]])):
            yield QueryMatch(key=row["key"])
    for row in tables.find_dropped("extract", [query.text]):
        yield QueryMatch(key=row["key"])


def _begin_with(keys: "pa.Array", members: Sequence[str]) -> "pa.Array":
    """Return which keys are of these members, behind whose names their places in the archive stand."""
    import pyarrow.compute as pc

    return reduce(pc.or_, [pc.starts_with(keys, pattern=f"{member}#") for member in members])


def _match_file(tables: StageTables, key: str) -> QueryMatch:
    """Match a key of ingest's dropped table: a file's name, or the URL of a response whose file name is taken."""
    if "://" in key:
        return QueryMatch(None, key)
    if url := _find_url(tables, key):
        return QueryMatch(name_url(url), url)
    source, _, file = key.partition(":")
    return QueryMatch((source, file))


def _find_url(tables: StageTables, key: str) -> str | None:
    """Return the first URL of the crawl whose file has this name in the stage tables."""
    import pyarrow.compute as pc

    crawl = tables.open("crawl")
    if crawl is None:
        return None
    # Escapes are decoded in a file's name, so only its letters and digits are certain to be in the URL as well.
    piece = max(re.findall("[A-Za-z0-9]+", key.rpartition("/")[2]) or [""], key=len)
    similar = list_numbers(crawl.search("url", lambda urls: pc.match_substring(urls, pattern=piece)))
    rows = crawl.select(similar, ["url", "reason"]).values()
    return next((row["url"] for row in rows if not row["reason"] and name_file(*name_url(row["url"])) == key), None)


def _merge(matches: list[QueryMatch]) -> list[QueryMatch]:
    """Merge matches of the same file, URL or key: a file that matches by an item and as a whole matches as a whole; a
    URL whose file another URL gave has none."""
    without = {match.url for match in matches if match.file is None and match.url is not None}
    merged: dict[object, QueryMatch] = {}
    for match in matches:
        if match.file is not None and match.url in without:
            continue
        name = match.key or match.file or match.url
        known = merged.setdefault(name, match)
        if known.item != match.item:
            merged[name] = replace(known, item=None, id=None)
    return list(merged.values())
