"""Write and read sharded, verified, reproducible training data.

Names are imported when they are first used (PEP 562), so that using one part of the package does not import the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardwright.datasets.map_style import MapStyle
    from shardwright.datasets.mix import Mix
    from shardwright.datasets.ragged import RaggedArray
    from shardwright.datasets.shard_dataset import ShardDataset
    from shardwright.errors import DamageError, ExistsError, FormatError, ShardwrightError, StateError
    from shardwright.format.encode import EncodedShard, Sample, WrittenShard, encode_shard, write_shard
    from shardwright.format.field import Field
    from shardwright.format.jpeg import encode_jpeg
    from shardwright.format.manifest import (
        FileRecord,
        Manifest,
        ShardRecord,
        Source,
        Split,
        Statistics,
        read_manifest,
        write_manifest,
    )
    from shardwright.format.verify import Problem, Report, verify
    from shardwright.format.writer import ShardWriter, write_split
    from shardwright.loading.batch_reader import Skip
    from shardwright.loading.loader import Loader
    from shardwright.loading.mesh import ranks_of
    from shardwright.loading.stats import LoaderStats
    from shardwright.loading.window_reader import Blocks
    from shardwright.webdataset.build_index import Indexing, index_shards
    from shardwright.webdataset.dataset import ForeignDataset
    from shardwright.webdataset.decode import Sound
    from shardwright.webdataset.limits import Limits

_HOMES = {
    "loading.batch_reader": ("Skip",),
    "datasets.ragged": ("RaggedArray",),
    "datasets.shard_dataset": ("ShardDataset",),
    "webdataset.decode": ("Sound",),
    "format.encode": ("EncodedShard", "Sample", "WrittenShard", "encode_shard", "write_shard"),
    "errors": ("DamageError", "ExistsError", "FormatError", "ShardwrightError", "StateError"),
    "format.field": ("Field",),
    "webdataset.dataset": ("ForeignDataset",),
    "webdataset.build_index": ("Indexing", "index_shards"),
    "webdataset.limits": ("Limits",),
    "format.jpeg": ("encode_jpeg",),
    "loading.loader": ("Loader",),
    "loading.mesh": ("ranks_of",),
    "loading.stats": ("LoaderStats",),
    "format.manifest": (
        "FileRecord",
        "Manifest",
        "ShardRecord",
        "Source",
        "Split",
        "Statistics",
        "read_manifest",
        "write_manifest",
    ),
    "datasets.map_style": ("MapStyle",),
    "datasets.mix": ("Mix",),
    "loading.window_reader": ("Blocks",),
    "format.verify": ("Problem", "Report", "verify"),
    "format.writer": ("ShardWriter", "write_split"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Blocks",
    "DamageError",
    "EncodedShard",
    "ExistsError",
    "Field",
    "FileRecord",
    "ForeignDataset",
    "FormatError",
    "Indexing",
    "Limits",
    "Loader",
    "LoaderStats",
    "Manifest",
    "MapStyle",
    "Mix",
    "Problem",
    "RaggedArray",
    "Report",
    "Sample",
    "ShardDataset",
    "ShardRecord",
    "ShardWriter",
    "ShardwrightError",
    "Skip",
    "Sound",
    "Source",
    "Split",
    "StateError",
    "Statistics",
    "WrittenShard",
    "encode_jpeg",
    "encode_shard",
    "index_shards",
    "ranks_of",
    "read_manifest",
    "verify",
    "write_manifest",
    "write_shard",
    "write_split",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


def __dir__() -> list[str]:
    return __all__
