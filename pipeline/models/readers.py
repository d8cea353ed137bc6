"""List the readers of shards by name: this project's loader, and stock webdataset on the same files.

A reader is a function from a split and a `ReadOrder` to batches. In stored order all give the same batches.
"""

from collections.abc import Mapping

from pipeline.config.lazy_import import LazyObject

READERS: Mapping[str, LazyObject] = {
    "shardwright": LazyObject("pipeline.models.batches:read_with_shardwright"),
    "webdataset": LazyObject("pipeline.models.batches:read_with_webdataset"),
}
