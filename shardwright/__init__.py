"""Sharded, verified, reproducible training data: written once, read back fast.

Names are loaded when they are first used (PEP 562), so that a part of the package costs that part alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardwright.batches import Skip
    from shardwright.dataset import ShardDataset
    from shardwright.decode import Sound
    from shardwright.encode import EncodedShard, Sample, WrittenShard, encode_shard, write_shard
    from shardwright.errors import DamageError, ExistsError, FormatError, ShardwrightError, StateError
    from shardwright.field import Field
    from shardwright.foreign import ForeignDataset
    from shardwright.foreign_build import Indexing, index_shards
    from shardwright.foreign_limits import Limits
    from shardwright.jpeg import encode_jpeg
    from shardwright.loader import Loader
    from shardwright.manifest import (
        FileRecord,
        Manifest,
        ShardRecord,
        Source,
        Split,
        Statistics,
        read_manifest,
        write_manifest,
    )
    from shardwright.mix import Mix
    from shardwright.readwindows import Blocks
    from shardwright.verification import Problem, Report, verify
    from shardwright.writer import ShardWriter, write_split

_HOMES = {
    "batches": ("Skip",),
    "dataset": ("ShardDataset",),
    "decode": ("Sound",),
    "encode": ("EncodedShard", "Sample", "WrittenShard", "encode_shard", "write_shard"),
    "errors": ("DamageError", "ExistsError", "FormatError", "ShardwrightError", "StateError"),
    "field": ("Field",),
    "foreign": ("ForeignDataset",),
    "foreign_build": ("Indexing", "index_shards"),
    "foreign_limits": ("Limits",),
    "jpeg": ("encode_jpeg",),
    "loader": ("Loader",),
    "manifest": (
        "FileRecord",
        "Manifest",
        "ShardRecord",
        "Source",
        "Split",
        "Statistics",
        "read_manifest",
        "write_manifest",
    ),
    "mix": ("Mix",),
    "readwindows": ("Blocks",),
    "verification": ("Problem", "Report", "verify"),
    "writer": ("ShardWriter", "write_split"),
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
    "Manifest",
    "Mix",
    "Problem",
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
