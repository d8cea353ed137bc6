"""Tasks whose results go into the item cache: a chunk of items, each of which may be beyond help."""

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
from pipeline.tables.drops import Rejection
from pipeline.tables.item_names import name_item
from pipeline.tables.parquet import Row


@dataclass(frozen=True, eq=False, kw_only=True)
class Chunk:
    """Items by their rows in a table, and the fingerprints of what is computed from each.

    `lost` are items that cost a process its life, by their place: they are left out.
    """

    name: str
    items: NDArray[np.integer[Any]]
    prints: CacheKeys
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return len(self.items)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return replace(self, lost=lost)


@dataclass(frozen=True)
class ChunkResult:
    """The pack with what was computed, if anything was; and what was lost, by its place in the chunk."""

    pack: str | None
    lost: Mapping[int, Rejection]


def compute_chunk(
    chunk: Chunk, rows: Iterable[Row], objects: ObjectStore, compute: Callable[[int, Row, bytes], Iterable[Entry]]
) -> ChunkResult:
    """Store what `compute` gives for each item, by its place, its row and its fingerprint. What earlier tries of the
    chunk finished is taken as it is; what is raised says at which item.

    An item that is accused of a process's death has a try for itself, in which nothing is stored. If it ends well, an
    earlier one may have left that process's memory corrupt: what was finished before is not taken.
    """
    alone = UNTOUCHED in chunk.lost.values()
    with GrowingPack(objects, chunk.prints.tobytes()) as pack:
        for number, row in enumerate(watch_items(rows)):
            fingerprint = encode_key(chunk.prints, number)
            if number in chunk.lost or (fingerprint in pack.remains and not alone):
                continue
            try:
                entries = compute(number, row, fingerprint)
            except Exception as error:
                error.add_note(f"at {name_item(row)}")
                raise
            if not alone:
                pack.add(entries)
        if alone:
            pack.discard()
            return ChunkResult(None, chunk.lost)
        return ChunkResult(pack.finish(), chunk.lost)
