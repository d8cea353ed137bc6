"""Finds what a query means: files, URLs that gave none, samples, rows of lists."""

import re
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipeline.lineage.scan import RowFilter, match_any, match_part
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.query import Query
from pipeline.tables.item_names import name_file, name_url
from pipeline.tables.parquet import Row

PIECE = 4
"""Characters: with one mistake in it, all but one of a name's pieces are still right."""

MAX_PIECES = 16
"""The last ones: paths differ at their ends."""

MAX_POOL = 500
"""Names that are compared letter by letter, some 50 µs each."""

MAX_COMPARED = 200
"""Characters of a name, its last, that are."""

MIN_RATIO = 0.6
"""As in `difflib.get_close_matches`."""


class NearNames:
    """The names most like `name` of all that were looked at; takes the memory of `MAX_POOL` names."""

    def __init__(self, name: str) -> None:
        self._name = name.lower()
        self._pieces = cut_pieces(self._name)
        self._pool: dict[str, int] = {}

    def look(self, names: "pa.Array") -> None:
        """Look at some names, strings without null."""
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
        """The likest names, the likest first; none that is not like it at all."""
        rated = sorted((-self._rate(name), name) for name in self._pool)
        return [name for rate, name in rated if -rate >= MIN_RATIO][:limit]

    def _rate(self, name: str) -> float:
        """0 to 1 how alike they are; more where one is a part of the other."""
        name = name.lower()
        within = len(self._name) >= PIECE and self._name in name
        ratio = SequenceMatcher(None, self._name[-MAX_COMPARED:], name[-MAX_COMPARED:], autojunk=False).ratio()
        return ratio + within


def cut_pieces(name: str) -> list[str]:
    """The name's last pieces of up to four letters or digits, none twice; the name itself where it has neither."""
    words = re.findall(r"\w+", name[-MAX_COMPARED:])
    pieces = [word[start : start + PIECE] for word in words for start in range(0, len(word), PIECE)]
    return list(dict.fromkeys(pieces))[-MAX_PIECES:] or [name[-PIECE:]]


@dataclass(frozen=True)
class QueryMatch:
    """One thing that a query means.

    Attributes:
        file: source and path of a file, or None.
        url: its URL, or one that gave no file, or None.
        item: the id of the one item of it that is meant, or None for all.
        key: of a sample, or of a row of a URL list, which are nothing else.
    """

    file: tuple[str, str] | None = None
    url: str | None = None
    item: str | None = None
    key: str | None = None

    @property
    def name(self) -> str:
        """What to ask for it by, and for nothing else."""
        return self.key or self.item or (name_file(*self.file) if self.file else self.url or "")


def find_roots(ledgers: StageTables, query: Query) -> list[QueryMatch]:
    """All that the query means. A URL that others only lead to is meant where nothing else is.

    Raises:
        InputError: a table is missing from its folder, or damaged.
    """
    samples = ledgers.find("align", match_any({"key": [query.text]}))
    roots = [QueryMatch(key=row["key"]) for row in samples.rows]
    roots += [*_find_items(ledgers, query), *_find_crawled(ledgers, query, "url"), *_find_dropped(ledgers, query)]
    return _join(roots or list(_find_crawled(ledgers, query, "final_url")))


def _find_items(ledgers: StageTables, query: Query) -> Iterator[QueryMatch]:
    look = match_any({"id": [query.text], "url": query.urls, "file": query.files})
    for row in ledgers.find("ingest", look).rows:
        file = row["source"], row["file"]
        if row["id"] == query.text or (row["part"] and query.fits(*file, row["part"])):
            yield QueryMatch(file, row["url"], item=row["id"])
        elif row["url"] in query.urls or query.fits(*file):
            yield QueryMatch(file, row["url"])


def _find_crawled(ledgers: StageTables, query: Query, column: str) -> Iterator[QueryMatch]:
    for row in ledgers.find("crawl", match_any({column: query.urls})).rows:
        yield QueryMatch(None if row["reason"] else name_url(row["url"]), row["url"])


def _find_dropped(ledgers: StageTables, query: Query) -> Iterator[QueryMatch]:
    """Files that gave no item, rows of lists, and what only a later stage's ledger names since the others are gone."""
    for row in ledgers.find_dropped("ingest", match_any({"key": {*query.names, *query.urls}})).rows:
        yield _place_file(ledgers, row["key"])
    for row in ledgers.find_dropped("ingest", match_part("key", f":{query.text}", at_end=True)).rows:
        yield _place_file(ledgers, row["key"])
    for row in ledgers.find_dropped("crawl", match_any({"key": [query.text]})).rows:
        if not ledgers.find("crawl", match_any({"url": [row["key"]]})).count:
            yield QueryMatch(key=row["key"])
    for row in ledgers.find_dropped("extract", match_any({"key": [query.text]})).rows:
        yield QueryMatch(key=row["key"])


def _place_file(ledgers: StageTables, key: str) -> QueryMatch:
    """The file of a key of ingest's ledger: its name, or the URL of a response that has the name of another's."""
    if "://" in key:
        return QueryMatch(None, key)
    for row in _find_urls(ledgers, key):
        return QueryMatch(name_url(row["url"]), row["url"])
    source, _, file = key.partition(":")
    return QueryMatch((source, file))


def _find_urls(ledgers: StageTables, key: str) -> Iterator[Row]:
    """The crawl's rows whose file has this name in the ledger."""
    # Escapes are undone in a file's name, so only letters and digits are sure to stand in the URL as well.
    piece = max(re.findall("[A-Za-z0-9]+", key.rpartition("/")[2]) or [""], key=len)
    similar = match_part("url", piece)

    def mask(batch: "pa.RecordBatch") -> Any:
        import pyarrow as pa

        found = similar.mask(batch).to_numpy(zero_copy_only=False)
        rows = batch.to_pylist()
        for number in np.flatnonzero(found).tolist():
            found[number] = rows[number]["reason"] is None and name_file(*name_url(rows[number]["url"])) == key
        return pa.array(found)

    yield from ledgers.find("crawl", RowFilter(("url", "reason"), mask)).rows


def _join(roots: list[QueryMatch]) -> list[QueryMatch]:
    """Each thing once: a file that was found by an item and as a whole is meant as a whole; a URL whose file another
    URL gave has none."""
    without = {root.url for root in roots if root.file is None and root.url is not None}
    joined: dict[object, QueryMatch] = {}
    for root in roots:
        if root.file is not None and root.url in without:
            continue
        thing = root.key or root.file or root.url
        known = joined.setdefault(thing, root)
        if known.item != root.item:
            joined[thing] = replace(known, item=None)
    return list(joined.values())
