"""Compute the entries that the cache lacks: in chunks of items, each of which may kill its process.

A chunk is a task, and its entries become one pack of the cache. No output depends on how chunks are cut.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.config.params import RunParams
from pipeline.incremental.growing_pack import GrowingPack
from pipeline.incremental.lookup import EntryLookup
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import Entry
from pipeline.runtime.executor import Executor
from pipeline.runtime.progress import show_progress
from pipeline.runtime.sandbox.heartbeat import UNTOUCHED, watch_items
from pipeline.tables.columns import Row, read_rows
from pipeline.tables.drops import Rejection
from pipeline.tables.item_names import name_item

if TYPE_CHECKING:
    import pyarrow as pa

ITEM_BYTES = 256 << 20
"""Memory assumed for a task that computes: libraries, and the largest item that is likely."""

MAX_ITEMS = 256
"""Most items of a chunk: about a second of work at 3 ms an item."""

MAX_BYTES = 16 << 20
"""Most bytes of a chunk's entries, which are in memory until they are written."""

MIN_CHUNKS = 32
"""Fewest chunks of one kind of items, given as many: a kill loses the chunks in progress. Each has files to open and a
pack to write, some 5 ms."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Chunk:
    """Items to compute entries from.

    Attributes:
        name: for messages.
        rows: of the items, with what `name_item` needs and the column `key`, the cache key of what is computed.
        lost: items that killed a process, by their index: they are left out.
    """

    name: str
    rows: "pa.Table"
    lost: Mapping[int, Rejection] = field(default_factory=dict)

    def add_columns(self, more: "pa.Table") -> Self:
        """Return the chunk with the columns of a table with as many rows."""
        rows = self.rows
        for name in more.schema.names:
            rows = rows.append_column(name, more[name])
        return replace(self, rows=rows)

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return int(self.rows.num_rows)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return replace(self, lost=lost)


@dataclass(frozen=True)
class ChunkResult:
    """The pack with what was computed, if anything was; the number of items; the lost ones by their cache key."""

    pack: str | None
    items: int
    lost: Mapping[bytes, Rejection]


def compute_chunk(chunk: Chunk, objects: ObjectStore, compute: Callable[[Row, bytes], Entry]) -> ChunkResult:
    """Store what `compute` returns for each item, from its row and its cache key, as a pack of the cache."""
    rows = read_rows(chunk.rows)
    keys = [bytes.fromhex(row["key"]) for row in rows]
    with GrowingPack(objects, b"".join(keys)) as pack:
        alone = compute_entries(pack, watch_items(rows), chunk.lost, compute)
        name = None if alone else pack.finish()
    return ChunkResult(name, len(rows), {keys[at]: rejection for at, rejection in chunk.lost.items()})


def compute_entries(
    pack: GrowingPack, rows: Iterator[Row], lost: Mapping[int, Rejection], compute: Callable[[Row, bytes], Entry]
) -> bool:
    """Add to a pack what `compute` returns for each row. Entries that earlier tries of the task finished are used; an
    exception gets a note with the item.

    An item that is suspected of a process's death runs alone, and nothing is stored: then the result is True. If it
    succeeds, an earlier item may have corrupted that process's memory: entries that were finished before are not used.
    """
    alone = UNTOUCHED in lost.values()
    for number, row in enumerate(rows):
        key = bytes.fromhex(row["key"])
        if number in lost or (key in pack and not alone):
            continue
        try:
            entry = compute(row, key)
        except Exception as error:
            error.add_note(f"at {name_item(row)}")
            raise
        if not alone:
            pack.add(entry)
    if alone:
        pack.discard()
    return alone


def cut_chunks(sizes: NDArray[np.int64], max_bytes: int = MAX_BYTES) -> Sequence[slice]:
    """Cut items whose entries have about these sizes, in bytes, into chunks."""
    most = max(1, min(MAX_ITEMS, len(sizes) // MIN_CHUNKS))
    chunks, start, total = [], 0, 0
    for number, size in enumerate(sizes.tolist()):
        if number - start == most or (number > start and total + size > max_bytes):
            chunks.append(slice(start, number))
            start, total = number, 0
        total += size
    return [*chunks, slice(start, len(sizes))] if len(sizes) else []


def compute_missing(
    executor: Executor,
    function: Callable[[Any], ChunkResult],
    tasks: Sequence[Any],
    lookup: EntryLookup,
    run: RunParams,
) -> dict[bytes, Rejection]:
    """Run the tasks of chunks, and look up what they computed; return the rejections of lost items by cache key."""
    lost: dict[bytes, Rejection] = {}
    for _, result in show_progress(executor.run_tasks(function, tasks), None, "items", run, _measure):
        lost |= result.lost
        if result.pack is not None:
            lookup.add(result.pack)
    lookup.flush()
    return lost


def _measure(finished: tuple[int, ChunkResult]) -> tuple[int, Mapping[str, int]]:
    """Return the number of items of a chunk and their outcomes, for `show_progress`."""
    result = finished[1]
    reasons = Counter(str(rejection.reason) for rejection in result.lost.values())
    return result.items, {"computed": result.items - reasons.total(), **reasons}
