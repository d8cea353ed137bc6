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
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.objects import Objects
from pipeline.cache.rows import DamagedError, Rows
from pipeline.extract.fields import FieldPlan
from pipeline.extract.moments import Moments, start_moments
from pipeline.stopwatch import clock
from shardwright.encode import EncodedSample, encode_members
from shardwright.field import Field
from shardwright.index import Index, index_dtype
from shardwright.layout import Layout, plan_layout

SHARD = ".tar"
"""The ending of kept shards, which tells them from packs."""

Array = NDArray[Any]
Measures = Mapping[str, Moments]
"""What a sample adds to the statistics, by field; not of fields that it does not have."""


@dataclass(frozen=True)
class Finished:
    """A sample as its shard has it, and what it adds to the statistics."""

    encoded: EncodedSample
    measures: Measures


def encode_samples(prints: Sequence[bytes], measures: Sequence[Measures], fields: Mapping[str, Field]) -> bytes:
    """What the rows of a kept shard say of each sample in it: its fingerprint, and its measures for these fields."""
    table = np.zeros(len(prints), _sample_dtype(fields))
    for row, (fingerprint, measured) in enumerate(zip(prints, measures, strict=True)):
        table["print"][row] = np.frombuffer(fingerprint, np.uint8)
        for name, moments in measured.items():
            table[name][row] = (True, moments.count, moments.mean, moments.squares)
    return table.tobytes()


def decode_samples(rows: Rows, plan: FieldPlan) -> tuple[Index, Array]:
    """The index of a kept shard, and the table that `encode_samples` made."""
    samples, measured = rows.about["samples"], {name: plan.fields[name] for name in rows.about["moments"]}
    dtype = index_dtype(plan.fields)
    index = np.frombuffer(rows.extra, dtype, samples)
    return index, np.frombuffer(rows.extra, _sample_dtype(measured), samples, samples * dtype.itemsize)


def _sample_dtype(fields: Mapping[str, Field]) -> np.dtype[Any]:
    columns: list[Any] = [("print", "u1", (32,))]
    for name, field in fields.items():
        shape = start_moments(field).mean.shape
        columns.append((name, [("there", "?"), ("count", "<i8"), ("mean", "<f8", shape), ("squares", "<f8", shape)]))
    return np.dtype(columns)


class ShardFile:
    """Reads the samples of a shard that is open, each held to its checksums."""

    def __init__(self, descriptor: int, fields: Mapping[str, Field], meta_bytes: int, index: Index) -> None:
        self._descriptor = descriptor
        self._fields = fields
        self._layout = plan_layout(fields, meta_bytes)
        self._index = index

    def read(self, row: int) -> EncodedSample:
        """One of the samples.

        Raises:
            DamagedError: its bytes are not as they were written.
        """
        known = self._index[row]
        start, layout = self._find(row)
        data = os.pread(self._descriptor, layout.stride, start)
        members = [data[at : at + size] for at, size in zip(layout.offsets, layout.sizes, strict=True)]
        checksums = [zlib.crc32(member) for member in members]
        if len(data) < layout.stride or checksums != known["crc32"].tolist():
            raise DamagedError
        *contents, meta = members
        return encode_members(self._fields, known["key"].decode(), contents, meta.rstrip(b" "), checksums[:-1])

    def _find(self, row: int) -> tuple[int, Layout]:
        if not self._layout.varying:
            return row * self._layout.stride, self._layout
        known = self._index[row]
        return int(known["offset"]), self._layout.fit(known["size"].tolist())


class _Shard:
    """A kept shard that is open."""

    def __init__(self, descriptor: int, rows: Rows, plan: FieldPlan) -> None:
        index, self._samples = decode_samples(rows, plan)
        self._file = ShardFile(descriptor, plan.fields, rows.about["meta_bytes"], index)

    def list_prints(self) -> list[bytes]:
        """The fingerprints of its samples, in their order."""
        return [bytes(row) for row in self._samples["print"]]

    def read(self, row: int) -> Finished:
        """One of its samples.

        Raises:
            DamagedError: its bytes are not as they were written.
        """
        return Finished(self._file.read(row), self._read_measures(row))

    def _read_measures(self, row: int) -> Measures:
        found = {}
        for name in (self._samples.dtype.names or ())[1:]:
            measured = self._samples[name][row]
            if measured["there"]:
                found[name] = Moments(int(measured["count"]), measured["mean"].copy(), measured["squares"].copy())
        return found


class FinishedSamples:
    """Reads samples from the kept shards of these names that were put together in the same way; a context manager.

    `damaged` names those whose bytes are not what they were.
    """

    def __init__(self, objects: Objects, names: Sequence[str], plan: FieldPlan, assembly: bytes) -> None:
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

    def read(self, fingerprint: bytes) -> Finished | None:
        """The sample of this fingerprint, if a shard has it whole."""
        if fingerprint not in self._found:
            return None
        name, shard, row = self._found[fingerprint]
        try:
            with clock("read cache"):
                return shard.read(row)
        except DamagedError:
            self.damaged.add(name)
            return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
