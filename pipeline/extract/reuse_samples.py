"""Samples as they stand in shards of the cache, taken whole into a new shard that has them too.

A new sample changes the one shard that its key's hash names; all others of that shard are bytes that are there already,
with their checksums and what they add to the statistics. Reading a sample in one piece, without looking into it, takes
a tenth of the time that putting it together of its features does.
"""

import os
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.object_store import ObjectStore
from pipeline.cache.pack_index import DamagedError, PackIndex
from pipeline.extract.field_statistics import FieldMoments, start_moments
from pipeline.extract.plan_fields import FieldPlan
from pipeline.runtime.stopwatch import clock
from shardwright.format.encode import EncodedSample, PlacedSample, encode_members
from shardwright.format.field import Field
from shardwright.format.index import Index, index_dtype
from shardwright.format.layout import plan_layout

SHARD = ".tar"
"""The ending of kept shards, which tells them from packs."""

COLUMNS = (("print", "u1", (32,)), ("meta", "<u4"), ("frame", "<u4"))
"""Of the table of a kept shard's samples, before those of the fields' measures."""

Array = NDArray[Any]
Measures = Mapping[str, FieldMoments]
"""What a sample adds to the statistics, by field; not of fields that it does not have."""


@dataclass(frozen=True)
class ReusableSamples:
    """A sample as its shard has it, and what it adds to the statistics."""

    encoded: EncodedSample | PlacedSample
    measures: Measures


@dataclass(frozen=True)
class ShardRows:
    """What is known of each sample that is in a shard, in its order, beside what its index says.

    Attributes:
        prints: its fingerprint.
        features: those of its features, by modality.
        measures: what it adds to the statistics.
        metas: the bytes of its meta without the padding.
        frames: see `shardwright.format.encode.PlacedSample`.
    """

    prints: Sequence[bytes]
    features: Sequence[Mapping[str, bytes]]
    measures: Sequence[Measures]
    metas: Sequence[int]
    frames: Sequence[int]


def encode_samples(written: ShardRows, fields: Mapping[str, Field]) -> bytes:
    """What the rows of a kept shard say of each sample in it, with its measures for these fields."""
    table = np.zeros(len(written.prints), _sample_dtype(fields))
    table["print"] = np.frombuffer(b"".join(written.prints), np.uint8).reshape(-1, 32)
    table["meta"], table["frame"] = written.metas, written.frames
    for row, measured in enumerate(written.measures):
        for name, moments in measured.items():
            table[name][row] = (True, moments.count, moments.mean, moments.squares)
    return table.tobytes()


def decode_samples(rows: PackIndex, plan: FieldPlan) -> tuple[Index, Array]:
    """The index of a kept shard, and the table that `encode_samples` made."""
    samples, measured = rows.about["samples"], {name: plan.fields[name] for name in rows.about["moments"]}
    dtype = index_dtype(plan.fields)
    index = np.frombuffer(rows.extra, dtype, samples)
    return index, np.frombuffer(rows.extra, _sample_dtype(measured), samples, samples * dtype.itemsize)


def _sample_dtype(fields: Mapping[str, Field]) -> np.dtype[Any]:
    columns: list[Any] = [*COLUMNS]
    for name, field in fields.items():
        shape = start_moments(field).mean.shape
        columns.append((name, [("there", "?"), ("count", "<i8"), ("mean", "<f8", shape), ("squares", "<f8", shape)]))
    return np.dtype(columns)


class SampleSpans(NamedTuple):
    """Where a shard's samples stand and the contents of their members, in bytes: int64 `starts` and `strides`, both
    (samples,); int64 `offsets` from there and `sizes`, both (members, samples), the meta last."""

    starts: NDArray[np.int64]
    strides: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


def locate_samples(fields: Mapping[str, Field], meta_bytes: int, index: Index) -> SampleSpans:
    """Of a shard with this index that pads its metas to so many bytes."""
    layout = plan_layout(fields, meta_bytes)
    varying = index["size"] if layout.varying else np.empty((len(index), 0), np.uint32)
    strides = layout.measure(varying)
    return SampleSpans(np.cumsum(strides) - strides, strides, *layout.place(varying))


class ShardFile:
    """Reads the samples of a shard that is open, each held to its checksums: those in the index, and that of its frame,
    see `shardwright.format.encode.PlacedSample`."""

    def __init__(
        self, descriptor: int, fields: Mapping[str, Field], meta_bytes: int, index: Index, frames: Sequence[int]
    ) -> None:
        located = locate_samples(fields, meta_bytes, index)
        self._descriptor = descriptor
        self._fields = fields
        self._keys = [key.decode() for key in index["key"].tolist()]
        self._checksums = list(map(tuple, index["crc32"].tolist()))
        varies = "size" in (index.dtype.names or ())
        self._varying = list(map(tuple, index["size"].tolist())) if varies else [()] * len(index)
        self._frames = frames
        self._spans = list(zip(located.starts.tolist(), located.strides.tolist(), strict=True))
        members = zip(located.offsets.T.tolist(), located.sizes.T.tolist(), strict=True)
        self._places = [list(zip(offsets, sizes, strict=True)) for offsets, sizes in members]

    def read(self, row: int) -> PlacedSample:
        """One of the samples.

        Raises:
            DamagedError: its bytes are not as they were written.
        """
        start, stride = self._spans[row]
        data = os.pread(self._descriptor, stride, start)
        view, frame, end = memoryview(data), [], 0
        if len(data) < stride:
            raise DamagedError
        for (at, size), checksum in zip(self._places[row], self._checksums[row], strict=True):
            if zlib.crc32(view[at : at + size]) != checksum:
                raise DamagedError
            frame.append(view[end:at])
            end = at + size
        if zlib.crc32(b"".join((*frame, view[end:]))) != self._frames[row]:
            raise DamagedError
        return PlacedSample(self._keys[row], data, self._checksums[row], self._varying[row], self._frames[row])

    def read_apart(self, row: int) -> EncodedSample:
        """The same, for a shard that pads its metas to another size."""
        sample = self.read(row)
        *contents, meta = (sample.data[at : at + size] for at, size in self._places[row])
        return encode_members(self._fields, sample.key, contents, meta.rstrip(b" "), sample.checksums[:-1])


class _Shard:
    """A kept shard that is open."""

    def __init__(self, descriptor: int, rows: PackIndex, plan: FieldPlan) -> None:
        index, self._samples = decode_samples(rows, plan)
        self._meta_bytes = rows.about["meta_bytes"]
        self._file = ShardFile(descriptor, plan.fields, self._meta_bytes, index, self._samples["frame"].tolist())

    def list_prints(self) -> list[bytes]:
        """The fingerprints of its samples, in their order."""
        return [bytes(row) for row in self._samples["print"]]

    def measure_meta(self, row: int) -> int:
        """The bytes of a sample's meta without the padding."""
        return int(self._samples["meta"][row])

    def read(self, row: int, meta_bytes: int) -> ReusableSamples:
        """One of its samples, for a shard that pads its metas to `meta_bytes`.

        Raises:
            DamagedError: its bytes are not as they were written.
        """
        read = self._file.read if meta_bytes == self._meta_bytes else self._file.read_apart
        return ReusableSamples(read(row), self._read_measures(row))

    def _read_measures(self, row: int) -> Measures:
        found, known = {}, self._samples[row]
        for name in (self._samples.dtype.names or ())[len(COLUMNS) :]:
            there, count, mean, squares = known[name]
            if there:
                found[name] = FieldMoments(int(count), mean, squares)
        return found


class ReusedSamples:
    """Reads samples from the kept shards of these names that were put together in the same way; a context manager.

    `damaged` names those whose bytes are not what they were.
    """

    def __init__(self, objects: ObjectStore, names: Sequence[str], plan: FieldPlan, assembly: bytes) -> None:
        self._stack = ExitStack()
        self._found: dict[bytes, tuple[str, _Shard, int]] = {}
        self.damaged: set[str] = set()
        for name in names:
            try:
                rows = objects.read_rows(name)
                if rows.about.get("assembly") != assembly.hex():
                    continue
                descriptor = os.open(objects.find_path(name), os.O_RDONLY)
            except (DamagedError, FileNotFoundError):
                continue  # whoever needs its features finds out
            self._stack.callback(os.close, descriptor)
            shard = _Shard(descriptor, rows, plan)
            self._found |= {each: (name, shard, row) for row, each in enumerate(shard.list_prints())}

    def measure_meta(self, fingerprint: bytes) -> int | None:
        """The bytes of the meta of the sample of this fingerprint, without padding; None if no shard has it."""
        if fingerprint not in self._found:
            return None
        _, shard, row = self._found[fingerprint]
        return shard.measure_meta(row)

    def read(self, fingerprint: bytes, meta_bytes: int) -> ReusableSamples | None:
        """The sample of this fingerprint, if a shard has it whole, for one that pads its metas to `meta_bytes`."""
        if fingerprint not in self._found:
            return None
        name, shard, row = self._found[fingerprint]
        try:
            with clock("read cache"):
                return shard.read(row, meta_bytes)
        except DamagedError:
            self.damaged.add(name)
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
