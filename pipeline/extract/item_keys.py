"""What the driver plans with of each item: its cache keys, terms and length, in arrays on disk."""

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.incremental.cache_key import make_keys
from pipeline.incremental.key_words import NAMES, build_words, view_words
from pipeline.tables.columns import number_distinct

if TYPE_CHECKING:
    import pyarrow as pa

    from pipeline.tables.database import Database

DECISIVE = ("orientation", "media_type")
"""Columns that decide over a feature, besides the bytes and the modality."""

TERMS = ("source", "licence", "attribution")

KEY_TYPE = f"STRUCT({', '.join(f'{name} UBIGINT' for name in NAMES)})"


class ItemKeys:
    """Cache keys, terms and lengths by item number.

    Attributes:
        terms: the distinct sources with their licences and attributions, None if unknown.
    """

    def __init__(self, folder: Path, items: int, methods: Mapping[str, bytes], by_language: Collection[str]) -> None:
        """Make the files in `folder`; `methods` are the hashes of how features are computed, by modality, and
        `by_language` the modalities whose features depend on the language of an item."""
        self._methods = methods
        self._by_language = by_language
        self._items = 0
        self._words = np.memmap(folder / "item_keys", np.uint64, "w+", shape=(items, len(NAMES)))
        self._seconds = np.memmap(folder / "item_seconds", np.float64, "w+", shape=(items,))
        self._terms = np.memmap(folder / "item_terms", np.int32, "w+", shape=(items,))
        self._numbers: dict[tuple[Any, ...], int] = {}

    @property
    def terms(self) -> list[tuple[Any, ...]]:
        """Return the distinct terms in the order of their numbers."""
        return list(self._numbers)

    def add(self, batch: "pa.RecordBatch") -> None:
        """Enter the next items, with the columns `DECISIVE`, `TERMS`, `modality`, `language`, `frames`, `sample_rate`
        and `sha256`, which is null for what clean dropped."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows = slice(self._items, self._items + batch.num_rows)
        self._items = rows.stop
        words = make_keys(batch, self._methods.get, DECISIVE)
        if self._by_language:
            spoken = pc.is_in(batch.column("modality"), pa.array(sorted(self._by_language), pa.string()))
            worded = make_keys(batch, self._methods.get, (*DECISIVE, "language"))
            words = np.where(spoken.to_numpy(zero_copy_only=False)[:, None], worded, words)
        self._words[rows] = words
        seconds = pc.divide(batch.column("frames").cast(pa.float64()), batch.column("sample_rate"))
        self._seconds[rows] = pc.fill_null(seconds, np.nan).to_numpy()
        found, which = number_distinct(batch, TERMS)
        self._terms[rows] = np.array([self._numbers.setdefault(each, len(self._numbers)) for each in found])[which]

    def add_functions(self, database: "Database") -> None:
        """Make functions callable in SQL: `find_key(item, start, end)`, the words of the cache key of an item, or of a
        span of it, all 0 for one that clean dropped; `find_term(item)`, the number of its terms; and
        `find_seconds(item)`, its length, null if unknown."""
        import pyarrow as pa

        def find_key(items: "pa.Array", starts: "pa.Array", ends: "pa.Array") -> "pa.Array":
            words = self._words[items.to_numpy().astype(np.int64)]
            spanned = np.flatnonzero(starts.is_valid().to_numpy() | ends.is_valid().to_numpy())
            for row in spanned[words[spanned].any(axis=1)].tolist():
                span = f"/{starts[row].as_py()}/{ends[row].as_py()}"
                digest = hashlib.sha256(words[row].tobytes() + span.encode()).digest()
                words[row] = view_words(np.frombuffer(digest, np.uint8))
            return pa.StructArray.from_arrays(list(build_words(words).values()), NAMES)

        def find_term(items: "pa.Array") -> "pa.Array":
            return pa.array(self._terms[items.to_numpy().astype(np.int64)])

        def find_seconds(items: "pa.Array") -> "pa.Array":
            return pa.array(self._seconds[items.to_numpy().astype(np.int64)], from_pandas=True)

        database.add_function("find_key", find_key, ["UBIGINT", "DOUBLE", "DOUBLE"], KEY_TYPE)
        database.add_function("find_term", find_term, ["UBIGINT"], "INTEGER")
        database.add_function("find_seconds", find_seconds, ["UBIGINT"], "DOUBLE")
