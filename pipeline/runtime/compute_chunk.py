"""Compute a chunk of items into the item cache, where each item may kill its process."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.growing_pack import GrowingPack
from pipeline.cache.lookup import CacheKeys, encode_key
from pipeline.cache.object_store import ObjectStore
from pipeline.cache.pack_index import Entry
from pipeline.runtime.sandbox.heartbeat import UNTOUCHED, watch_items
from pipeline.tables.columns import Row
from pipeline.tables.drops import Rejection
from pipeline.tables.item_names import name_item


@dataclass(frozen=True, eq=False, kw_only=True)
class Chunk:
    """Items by their rows in a table, and the cache keys of what is computed from each.

    `lost` are items that killed a process, by their index: they are left out.
    """

    name: str
    items: NDArray[np.integer[Any]]
    cache_keys: CacheKeys
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return len(self.items)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return replace(self, lost=lost)


@dataclass(frozen=True)
class ChunkResult:
    """The pack with what was computed, if anything was; and the lost items, by their index in the chunk."""

    pack: str | None
    lost: Mapping[int, Rejection]


def compute_chunk(
    chunk: Chunk, rows: Iterable[Row], objects: ObjectStore, compute: Callable[[int, Row, bytes], Iterable[Entry]]
) -> ChunkResult:
    """Store what `compute` returns for each item, from its index, its row and its cache key. Entries that earlier tries
    of the chunk finished are used; an exception gets a note with the item.

    An item that is suspected of a process's death runs alone, and nothing is stored. If that succeeds, an earlier item
    may have corrupted that process's memory: entries that were finished before are not used.
    """
    alone = UNTOUCHED in chunk.lost.values()
    with GrowingPack(objects, chunk.cache_keys.tobytes()) as pack:
        for number, row in enumerate(watch_items(rows)):
            key = encode_key(chunk.cache_keys, number)
            if number in chunk.lost or (key in pack.finished and not alone):
                continue
            try:
                entries = compute(number, row, key)
            except Exception as error:
                error.add_note(f"at {name_item(row)}")
                raise
            if not alone:
                pack.add(entries)
        if alone:
            pack.discard()
            return ChunkResult(None, chunk.lost)
        return ChunkResult(pack.finish(), chunk.lost)
