"""Find what a query matches: files, URLs that gave none, samples, rows of URL lists; or else similar names."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.lineage.scan import RowFilter, match_any, match_substring
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.query import Query
from pipeline.tables.item_names import name_file, name_url
from pipeline.tables.parquet import Row

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
        item: the id of the one item of the file that matches, or None for all of its items.
        key: of a sample, or of a row of a URL list; all else is None then.
    """

    file: tuple[str, str] | None = None
    url: str | None = None
    item: str | None = None
    key: str | None = None

    @property
    def name(self) -> str:
        """Return a name that matches this alone."""
        return self.key or self.item or (name_file(*self.file) if self.file else self.url or "")


def find_matches(tables: StageTables, query: Query) -> list[QueryMatch]:
    """Return all matches of the query. A URL that others only redirect to is the last resort.

    Raises:
        InputError: a table is missing from its folder, or damaged.
    """
    samples = tables.find("align", match_any({"key": [query.text]}))
    matches = [QueryMatch(key=row["key"]) for row in samples.rows]
    matches += [*_find_items(tables, query), *_find_crawled(tables, query, "url"), *_find_dropped(tables, query)]
    return _merge(matches or list(_find_crawled(tables, query, "final_url")))


def _find_items(tables: StageTables, query: Query) -> Iterator[QueryMatch]:
    condition = match_any({"id": [query.text], "url": query.urls, "file": query.files})
    for row in tables.find("ingest", condition).rows:
        file = row["source"], row["file"]
        if row["id"] == query.text or (row["part"] and query.matches(*file, row["part"])):
            yield QueryMatch(file, row["url"], item=row["id"])
        elif row["url"] in query.urls or query.matches(*file):
            yield QueryMatch(file, row["url"])


def _find_crawled(tables: StageTables, query: Query, column: str) -> Iterator[QueryMatch]:
    for row in tables.find("crawl", match_any({column: query.urls})).rows:
        yield QueryMatch(None if row["reason"] else name_url(row["url"]), row["url"])


def _find_dropped(tables: StageTables, query: Query) -> Iterator[QueryMatch]:
    """Yield files without items, rows of URL lists, and keys that only a later stage's table has."""
    for row in tables.find_dropped("ingest", match_any({"key": {*query.names, *query.urls}})).rows:
        yield _match_file(tables, row["key"])
    for row in tables.find_dropped("ingest", match_substring("key", f":{query.text}", at_end=True)).rows:
        yield _match_file(tables, row["key"])
    for row in tables.find_dropped("crawl", match_any({"key": [query.text]})).rows:
        if not tables.find("crawl", match_any({"url": [row["key"]]})).count:
            yield QueryMatch(key=row["key"])
    for row in tables.find_dropped("extract", match_any({"key": [query.text]})).rows:
        yield QueryMatch(key=row["key"])


def _match_file(tables: StageTables, key: str) -> QueryMatch:
    """Match a key of ingest's dropped table: a file's name, or the URL of a response whose file name is taken."""
    if "://" in key:
        return QueryMatch(None, key)
    for row in _find_urls(tables, key):
        return QueryMatch(name_url(row["url"]), row["url"])
    source, _, file = key.partition(":")
    return QueryMatch((source, file))


def _find_urls(tables: StageTables, key: str) -> Iterator[Row]:
    """Yield the crawl's rows whose file has this name in the stage tables."""
    # Escapes are decoded in a file's name, so only its letters and digits are certain to be in the URL as well.
    piece = max(re.findall("[A-Za-z0-9]+", key.rpartition("/")[2]) or [""], key=len)
    similar = match_substring("url", piece)

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow as pa

        found = similar.mask(batch).to_numpy(zero_copy_only=False)
        rows = batch.to_pylist()
        for number in np.flatnonzero(found).tolist():
            found[number] = rows[number]["reason"] is None and name_file(*name_url(rows[number]["url"])) == key
        return pa.array(found)

    yield from tables.find("crawl", RowFilter(("url", "reason"), mask)).rows


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
            merged[name] = replace(known, item=None)
    return list(merged.values())
