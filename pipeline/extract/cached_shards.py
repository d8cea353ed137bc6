"""Keep shards in the item cache under the hash of everything that they were built from, and use them again whole; or
read the features of their samples for a new shard."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.extract.feature_entry import encode_arrays
from pipeline.extract.field_statistics import FieldMoments
from pipeline.extract.item_rows import ORIGIN
from pipeline.extract.plan_fields import FieldPlan
from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.pack_index import PIECE, Array, Entry, PackIndex, PackIndexBuilder
from pipeline.incremental.published_tar import name_tar
from pipeline.modalities.modality import TokenTally
from pipeline.modalities.table import MODALITIES
from pipeline.tables.columns import Row
from pipeline.tables.drops import Drop, Reason
from shardwright.format.encode import WrittenShard, encode_sample
from shardwright.format.field import Field
from shardwright.format.index import Index, index_dtype
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import ShardRecord

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class BuiltShard:
    """A shard, None if all its samples were dropped; the drops, the moments for the statistics, and the tally of what
    was learned."""

    written: WrittenShard | None = None
    drops: Sequence[Drop] = ()
    moments: Mapping[str, FieldMoments] = field(default_factory=dict)
    tally: TokenTally = field(default_factory=TokenTally)


def hash_assembly(plan: FieldPlan, learned: str | None, files: Sequence[Path]) -> bytes:
    """Return a hash of how shards are assembled from features: the fields, the sha256 of the vocabulary, and the code,
    including the code that encodes parsed texts."""
    settings = {
        "fields": [[name, field.to_json()] for name, field in plan.fields.items()],
        "parts": {part: [plan.modalities[part], *names] for part, names in plan.names.items()},
        "joiners": dict(plan.joiners),
        "optional": list(plan.optional),
        "classes": plan.classes,
        "learned": learned,
        "code": [hashlib.sha256(path.read_bytes()).hexdigest() for path in files],
    }
    learnings = [MODALITIES[name].learning for name in plan.params]
    encoders = [learning.encode for learning in learnings if learning is not None]
    return hash_method("shard", (encode_sample, encode_arrays, *encoders), settings)


def list_code() -> list[Path]:
    """Return the files whose code assembles shards: this whole folder; a file too many costs only copying."""
    return sorted(Path(__file__).parent.glob("*.py"))


def name_shard(assembly: bytes, samples: "pa.Table", parts: "pa.Table", items: Sequence[Row]) -> str:
    """Return the cache name of the shard of these samples: it holds all that their bytes follow from."""
    digest = hashlib.sha256(assembly)
    for table, names in ((samples, ("key", "split", "label", "group")), (parts, ("part", "position", "start", "end"))):
        for name in names:
            digest.update(json.dumps(table[name].to_pylist()).encode())
    digest.update(b"".join(parts["key"].to_pylist()))
    first = parts["sample"][0].as_py() if parts.num_rows else 0
    digest.update(json.dumps([number - first for number in parts["sample"].to_pylist()]).encode())
    digest.update(json.dumps([[item[column] for column in ORIGIN] for item in items]).encode())
    return name_tar(digest)


def load_shard(rows: PackIndex, name: str, plan: FieldPlan) -> BuiltShard:
    """Return the shard that an index of the cache describes."""
    about = rows.about
    drops = tuple(Drop(key, Reason(reason), *rest) for key, reason, *rest in about["drops"])
    index = np.frombuffer(rows.extra, index_dtype(plan.fields))
    record = ShardRecord(name, len(index), rows.size, about["meta_bytes"], about["sha256"])
    moments = {
        field: FieldMoments(count, np.array(mean), np.array(squares))
        for field, (count, mean, squares) in about["moments"].items()
    }
    return BuiltShard(WrittenShard(record, index), drops, moments, TokenTally(*about["tally"]))


@dataclass(frozen=True, slots=True)
class PlacedFeatures:
    """Features of a part in a shard, in its order: the row of each one's sample, its cache key and its record."""

    rows: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    records: list[bytes] = field(default_factory=list)

    def add(self, row: int, entry: Entry) -> None:
        """Add the feature of an item of a sample."""
        self.rows.append(row)
        self.keys.append(entry.key)
        self.records.append(entry.record)


def describe_shard(plan: FieldPlan, shard: BuiltShard, features: Mapping[str, PlacedFeatures]) -> PackIndex:
    """Describe a finished shard for the cache.

    Args:
        plan: of the fields.
        shard: the shard.
        features: of its samples by part; those of several items in one array cannot be read from it.
    """
    assert shard.written is not None
    record, index = shard.written.record, shard.written.index
    about: dict[str, Any] = {
        "sha256": record.sha256,
        "meta_bytes": record.meta_bytes,
        "tally": astuple(shard.tally),
        "drops": [[drop.key, str(drop.reason), *astuple(drop)[2:]] for drop in shard.drops],
        "moments": {
            name: [moments.count, moments.mean.tolist(), moments.squares.tolist()]
            for name, moments in shard.moments.items()
        },
    }
    located = _locate_members(plan.fields, record.meta_bytes, index)
    order = {name: number for number, name in enumerate(plan.fields)}
    rows = PackIndexBuilder()
    placed: set[bytes] = set()
    for part, each in features.items():
        if part in plan.most:
            continue
        members = [order[name] for name in plan.names[part]]
        spans = located[np.ix_(each.rows, members)].tolist()
        for key, record_bytes, pieces in zip(each.keys, each.records, spans, strict=True):
            if key not in placed:  # two samples may share an item
                placed.add(key)
                rows.place(Entry(key, (), record=record_bytes), pieces)
    return rows.finish(record.bytes, about, index.tobytes())


def _locate_members(fields: Mapping[str, Field], meta_bytes: int, index: Index) -> Array:
    """Return where all members are, `PIECE` (samples, members), in a shard that pads its metas to `meta_bytes`; the
    meta is last."""
    layout = plan_layout(fields, meta_bytes)
    varying = index["size"] if layout.varying else np.empty((len(index), 0), np.uint32)
    strides = layout.compute_strides(varying)
    offsets, sizes = layout.compute_offsets(varying)
    located = np.empty(index["crc32"].shape, PIECE)
    located["offset"] = (offsets + np.cumsum(strides) - strides).T
    located["size"], located["crc32"] = sizes.T, index["crc32"]
    return located
