"""List the readers of shards by name: this project's loader, and stock webdataset on the same files.

A reader is a function from a split and a `ReadOrder` to batches. In stored order all give the same batches.
"""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeAlias

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from pipeline.models.batches import Batch, ReadOrder
    from shardwright import ShardDataset

Reader: TypeAlias = "Callable[[ShardDataset, ReadOrder], Iterator[Batch]]"

READERS: LazyTable[Reader] = LazyTable(
    {
        "shardwright": LazyObject("pipeline.models.batches:read_with_shardwright"),
        "webdataset": LazyObject("pipeline.models.batches:read_with_webdataset"),
    }
)
