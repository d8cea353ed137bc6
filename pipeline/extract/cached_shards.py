"""Keep shards in the item cache under the hash of everything that they were built from; use them again whole, or copy
their samples into a new shard.

A new sample changes one shard; its other samples are bytes that exist already, with their checksums. Copying a sample
in one piece takes a tenth of the time of encoding it from its features.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import astuple, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from pipeline.extract.feature_entry import encode_arrays
from pipeline.extract.field_statistics import FieldMoments
from pipeline.extract.item_rows import ORIGIN
from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.samples import AlignedSample, build_meta
from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.object_store import ObjectStore
from pipeline.incremental.pack_index import Array, DamagedError, Entry, PackIndex, PackIndexBuilder
from pipeline.incremental.published_tar import SUFFIX, name_tar
from pipeline.modalities.modality import TokenTally
from pipeline.modalities.table import MODALITIES
from pipeline.tables.columns import Row
from pipeline.tables.drops import Drop, Reason
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.checksum import compute_crc32
from shardwright.format.encode import EncodedSample, PlacedSample, WrittenShard, encode_members, encode_sample
from shardwright.format.field import Field
from shardwright.format.index import Index, index_dtype
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import ShardRecord

if TYPE_CHECKING:
    import pyarrow as pa

TALLY = np.dtype([(name.name, "<u4") for name in fields(TokenTally)])

SAMPLE = np.dtype([("key", "u1", (32,)), ("meta", "<u4"), ("frame", "<u4"), ("tally", TALLY)])
"""What the cache knows of a sample of a shard, beside its row in the index: its cache key, the bytes of its meta
without padding, the checksum of its frame, see `shardwright.format.encode.PlacedSample`, and the tally of the features
that were learned."""


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


def hash_sample(assembly: bytes, sample: AlignedSample) -> bytes:
    """Return the cache key of an encoded sample: a hash of the assembly, its meta and its features' keys."""
    digest = hashlib.sha256(assembly)
    digest.update(encode_canonical(build_meta(sample, None)))  # the caption is one of the features' items
    for parts in sample.parts.values():
        for part in parts:
            digest.update(part.key)
    return digest.digest()


def load_shard(rows: PackIndex, name: str, plan: FieldPlan) -> BuiltShard:
    """Return the shard that an index of the cache describes."""
    about = rows.about
    drops = tuple(Drop(key, Reason(reason), *rest) for key, reason, *rest in about["drops"])
    index, samples = _read_extra(rows, plan)
    record = ShardRecord(name, len(index), rows.size, about["meta_bytes"], about["sha256"])
    moments = {
        field: FieldMoments(count, np.array(mean), np.array(squares))
        for field, (count, mean, squares) in about["moments"].items()
    }
    return BuiltShard(WrittenShard(record, index), drops, moments, sum_tallies(samples))


def sum_tallies(samples: Array) -> TokenTally:
    """Return the sum of the tallies of samples of dtype `SAMPLE`."""
    return TokenTally(*(int(samples["tally"][name].sum(dtype=np.int64)) for name in TALLY.names or ()))


def _read_extra(rows: PackIndex, plan: FieldPlan) -> tuple[Index, Array]:
    """Return the index of a cached shard, and its samples as `SAMPLE`."""
    samples, dtype = rows.about["samples"], index_dtype(plan.fields)
    index = np.frombuffer(rows.extra, dtype, samples)
    return index, np.frombuffer(rows.extra, SAMPLE, samples, samples * dtype.itemsize)


def describe_shard(
    plan: FieldPlan, assembly: bytes, shard: BuiltShard, samples: Array, features: Iterable["PlacedFeature"]
) -> PackIndex:
    """Describe a finished shard for the cache.

    Args:
        plan: of the fields.
        assembly: how it was assembled.
        shard: the shard.
        samples: of dtype `SAMPLE`, in its order.
        features: those that can be taken from it.
    """
    assert shard.written is not None
    record, index = shard.written.record, shard.written.index
    about: dict[str, Any] = {
        "assembly": assembly.hex(),
        "samples": len(index),
        "sha256": record.sha256,
        "meta_bytes": record.meta_bytes,
        "drops": [[drop.key, str(drop.reason), *astuple(drop)[2:]] for drop in shard.drops],
        "moments": {
            name: [moments.count, moments.mean.tolist(), moments.squares.tolist()]
            for name, moments in shard.moments.items()
        },
    }
    located = locate_members(plan.fields, record.meta_bytes, index)
    order = {name: number for number, name in enumerate(plan.fields)}
    rows = PackIndexBuilder()
    placed: set[bytes] = set()
    for feature in features:
        if feature.key not in placed:  # two samples may share an item
            placed.add(feature.key)
            members = [order[name] for name in plan.names[feature.part]]
            spans = located[feature.row, members]
            pieces = [
                (int(offset), int(size), int(index["crc32"][feature.row, member]))
                for (offset, size), member in zip(spans.tolist(), members, strict=True)
            ]
            rows.place(Entry(feature.key, (), record=feature.record), pieces)
    return rows.finish(record.bytes, about, index.tobytes() + samples.tobytes())


@dataclass(frozen=True, slots=True)
class PlacedFeature:
    """The feature of a part in a shard: the row of its sample, the part's name, its cache key and its record."""

    row: int
    part: str
    key: bytes
    record: bytes


def locate_members(fields: Mapping[str, Field], meta_bytes: int, index: Index) -> Array:
    """Return offset and size of all members, int64 (samples, members, 2), in a shard that pads its metas to
    `meta_bytes`; the meta is last."""
    layout = plan_layout(fields, meta_bytes)
    varying = index["size"] if layout.varying else np.empty((len(index), 0), np.uint32)
    strides = layout.compute_strides(varying)
    offsets, sizes = layout.compute_offsets(varying)
    return np.stack([(offsets + np.cumsum(strides) - strides).T, sizes.T], axis=-1)


class _OpenShard:
    """Reads samples of a cached shard and checks each against its checksums."""

    def __init__(self, descriptor: int, rows: PackIndex, plan: FieldPlan) -> None:
        self._descriptor = descriptor
        self._fields = plan.fields
        self.meta_bytes: int = rows.about["meta_bytes"]
        self._index, self._samples = _read_extra(rows, plan)
        located = locate_members(plan.fields, self.meta_bytes, self._index)
        self._starts = np.append(located[:, 0, 0] - 512, rows.size - 1024)
        self._members = located

    def list_keys(self) -> list[bytes]:
        """Return the cache keys of its samples, in order."""
        raw = self._samples["key"].tobytes()
        return [raw[start : start + 32] for start in range(0, len(raw), 32)]

    def measure_meta(self, row: int) -> int:
        """Return the bytes of a sample's meta without padding."""
        return int(self._samples["meta"][row])

    def read_tally(self, row: int) -> TokenTally:
        """Return the tally of a sample's learned features."""
        return TokenTally(*self._samples["tally"][row].item())

    def read(self, row: int, meta_bytes: int) -> PlacedSample | EncodedSample:
        """Return one sample for a shard that pads its metas to `meta_bytes`.

        Raises:
            DamagedError: its bytes differ from what was written.
        """
        start, stop = self._starts[row : row + 2].tolist()
        data = os.pread(self._descriptor, stop - start, start)
        if len(data) < stop - start:
            raise DamagedError
        checksums = tuple(self._index["crc32"][row].tolist())
        view, frame, contents, end = memoryview(data), [], [], 0
        for (at, size), checksum in zip((self._members[row] - (start, 0)).tolist(), checksums, strict=True):
            contents.append(view[at : at + size])
            if compute_crc32(contents[-1]) != checksum:
                raise DamagedError
            frame.append(view[end:at])
            end = at + size
        if compute_crc32(b"".join((*frame, view[end:]))) != self._samples["frame"][row]:
            raise DamagedError
        key = self._index["key"][row].decode()
        if meta_bytes == self.meta_bytes:
            varying = tuple(self._index["size"][row].tolist()) if "size" in (self._index.dtype.names or ()) else ()
            return PlacedSample(key, data, checksums, varying, int(self._samples["frame"][row]))
        *arrays, meta = map(bytes, contents)
        return encode_members(self._fields, key, arrays, meta.rstrip(b" "), checksums[:-1])


class CachedSamples:
    """Reads samples from the cached shards of these names that were assembled in the same way; a context manager.

    `damaged` has the names of shards with damaged bytes.
    """

    def __init__(self, objects: ObjectStore, names: Iterable[str], plan: FieldPlan, assembly: bytes) -> None:
        self._stack = ExitStack()
        self._found: dict[bytes, tuple[str, _OpenShard, int]] = {}
        self.damaged: set[str] = set()
        for name in sorted(name for name in names if name.endswith(SUFFIX)):
            try:
                rows = objects.read_rows(name)
                if rows.about.get("assembly") != assembly.hex():
                    continue
                descriptor = os.open(objects.find_path(name), os.O_RDONLY)
            except (DamagedError, FileNotFoundError):
                continue  # its features are then read, and reported, elsewhere
            self._stack.callback(os.close, descriptor)
            shard = _OpenShard(descriptor, rows, plan)
            self._found |= {key: (name, shard, row) for row, key in enumerate(shard.list_keys())}

    def measure_meta(self, key: bytes) -> int | None:
        """Return the bytes of the sample's meta without padding; None if no shard has the sample."""
        if key not in self._found:
            return None
        _, shard, row = self._found[key]
        return shard.measure_meta(row)

    def read_tally(self, key: bytes) -> TokenTally:
        """Return the tally of a sample that a shard has."""
        _, shard, row = self._found[key]
        return shard.read_tally(row)

    def read(self, key: bytes, meta_bytes: int) -> PlacedSample | EncodedSample | None:
        """Return the sample for a shard that pads its metas to `meta_bytes`; None if no shard has it undamaged."""
        if key not in self._found:
            return None
        name, shard, row = self._found[key]
        try:
            return shard.read(row, meta_bytes)
        except DamagedError:
            self.damaged.add(name)
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
