"""Sharded, verified, reproducible training data: written once, read back fast.

Names are loaded when they are first used (PEP 562), so that a part of the package costs that part alone.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardwright.dataset import ShardDataset
    from shardwright.encode import EncodedShard, Sample, WrittenShard, encode_shard, write_shard
    from shardwright.errors import DamageError, ExistsError, FormatError, ShardwrightError, StateError
    from shardwright.field import Field
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
    from shardwright.verification import Problem, Report, verify
    from shardwright.writer import ShardWriter, write_split

_HOMES = {
    "dataset": ("ShardDataset",),
    "encode": ("EncodedShard", "Sample", "WrittenShard", "encode_shard", "write_shard"),
    "errors": ("DamageError", "ExistsError", "FormatError", "ShardwrightError", "StateError"),
    "field": ("Field",),
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
    "verification": ("Problem", "Report", "verify"),
    "writer": ("ShardWriter", "write_split"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "DamageError",
    "EncodedShard",
    "ExistsError",
    "Field",
    "FileRecord",
    "FormatError",
    "Loader",
    "Manifest",
    "Problem",
    "Report",
    "Sample",
    "ShardDataset",
    "ShardRecord",
    "ShardWriter",
    "ShardwrightError",
    "Source",
    "Split",
    "StateError",
    "Statistics",
    "WrittenShard",
    "encode_shard",
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
