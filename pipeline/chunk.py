"""Tasks whose results go into the item cache: a chunk of items, each of which may be beyond help."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.find import Fingerprints, read_print
from pipeline.cache.objects import Objects
from pipeline.cache.remains import Remains
from pipeline.cache.rows import Entry
from pipeline.isolate.items import watch_items
from pipeline.item_name import name_item
from pipeline.records import Rejection
from pipeline.tables import Row


@dataclass(frozen=True, eq=False, kw_only=True)
class Chunk:
    """Items by their rows in a table, and the fingerprints of what is computed from each.

    `lost` are items that cost a process its life, by their place: they are left out.
    """

    name: str
    items: NDArray[np.integer[Any]]
    prints: Fingerprints
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    def count_items(self) -> int:
        """See `pipeline.isolate.items.Divisible`."""
        return len(self.items)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.isolate.items.Divisible`."""
        return replace(self, lost=lost)


@dataclass(frozen=True)
class ChunkResult:
    """The packs with what was computed; and what was lost, by its place in the chunk."""

    packs: Sequence[str]
    lost: Mapping[int, Rejection]


def compute_chunk(
    chunk: Chunk, rows: Iterable[Row], objects: Objects, compute: Callable[[int, Row, bytes], Iterable[Entry]]
) -> ChunkResult:
    """Store what `compute` gives for each item, by its place, its row and its fingerprint. What an earlier try of the
    chunk stored is taken as it is; what is raised says at which item."""
    remains = Remains(objects, chunk.prints.tobytes(), chunk.lost.values())
    for number, row in enumerate(watch_items(rows)):
        fingerprint = read_print(chunk.prints, number)
        if number in chunk.lost or fingerprint in remains:
            continue
        try:
            remains.add(compute(number, row, fingerprint))
        except Exception as error:
            error.add_note(f"at {name_item(row)}")
            raise
    return ChunkResult(remains.store(), chunk.lost)
