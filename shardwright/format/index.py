"""The index of a split: a row a sample, in order, as one `.npy` file.

Columns: `key`, the sample's key in ASCII; `crc32`, the checksum of each member's content, in the order of the
manifest's fields and then the meta. Where a member stands is not stored: it follows from the sample's number
and the manifest, see `shardwright.format.layout`. Where fields vary in size it does not, and there are two columns
more:
`offset`, where the sample starts in its shard, and `size`, that of the content of each member that varies.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError
from shardwright.format import tar
from shardwright.format.atomic_write import write_file
from shardwright.format.field import Field
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import Split
from shardwright.format.npy import encode_npy_header

INDEX_NAME = "index.npy"
MAX_KEY_BYTES = 64

Index = NDArray[Any]
"""A structured array of shape (samples,) with the columns `key` S64 and `crc32` uint32 (members,), and where fields
vary `offset` uint64 () and `size` uint32 (varying fields,)."""


def index_dtype(fields: Mapping[str, Field]) -> np.dtype[Any]:
    """The dtype of an index row: 64 bytes of key, 4 bytes a member; 8 more and 4 a field that varies, if any does."""
    columns: list[Any] = [("key", f"S{MAX_KEY_BYTES}"), ("crc32", "<u4", (len(fields) + 1,))]
    if varying := sum(field.varies for field in fields.values()):
        columns += [("offset", "<u8"), ("size", "<u4", (varying,))]
    return np.dtype(columns)


def find_repeats(indexes: Sequence[Index]) -> list[str]:
    """The keys that several samples have, sorted. Takes some 70 bytes of memory a sample."""
    keys = np.concatenate([np.empty(0, "S1"), *(index["key"] for index in indexes)])
    keys.sort()
    return [decode_key(key) for key in np.unique(keys[1:][keys[1:] == keys[:-1]]).tolist()]


def decode_key(key: bytes) -> str:
    """A key as text. Keys are ASCII; what else an index that others wrote may hold becomes escapes."""
    return key.decode("ascii", "backslashreplace")


def write_index(path: Path, indexes: Sequence[Index]) -> str:
    """Write the index of a split, given in at least one part, whole or not at all; the sha256 as 64 hex digits."""
    header = encode_npy_header(indexes[0].dtype, (sum(map(len, indexes)),))
    chunks: tuple[bytes | memoryview, ...] = (header, *(index.view(np.uint8).data for index in indexes))
    write_file(path, chunks)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def read_index(path: Path, fields: Mapping[str, Field], split: Split) -> Index:
    """The index of a split, memory-mapped and read-only, after a check of its sha256 and of what it says of places.

    Raises:
        DamageError: the file is missing, has another sha256, or does not describe the samples of these shards; where
            it says that members stand elsewhere than they can, the message names shard and sample.
    """
    if not path.is_file():
        raise DamageError(f"{path}: missing", shard=path.name)
    dtype, samples = index_dtype(fields), split.samples
    header = encode_npy_header(dtype, (samples,))
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        start = file.read(len(header))
    if found != split.index.sha256:
        raise DamageError(f"{path}: its sha256 is {found}, the manifest says {split.index.sha256}", shard=path.name)
    # Compared, not parsed: whatever else NumPy would make of the file is nothing to look at.
    if start != header or size != len(header) + samples * dtype.itemsize:
        raise DamageError(f"{path}: not the rows that the manifest describes, {samples} of {dtype}", shard=path.name)
    index = np.memmap(path, dtype, "r", len(header), (samples,))
    if "offset" in (dtype.names or ()):
        _check_places(path, fields, split, np.asarray(index))
    return index


def _check_places(path: Path, fields: Mapping[str, Field], split: Split, index: Index) -> None:
    """Whether samples of the sizes in the index stand one after another, as it says, and fill their shards.

    So nothing that an index says leads out of a shard, or into another sample.
    """
    first = 0
    for shard in split.shards:
        rows = index[first : first + shard.samples]
        first += shard.samples
        stops = np.cumsum(plan_layout(fields, shard.meta_bytes).measure(rows["size"]))
        starts = np.concatenate([np.zeros(1, np.int64), stops]).astype(np.uint64)
        wrong = np.flatnonzero(rows["offset"] != starts[:-1])
        if len(wrong):
            at = int(wrong[0])
            key = decode_key(rows["key"][at])
            what = f"sample {key!r} stands at byte {rows['offset'][at]}, those before it end at {starts[at]}"
            raise DamageError(f"{path}: {shard.name}: {what}", shard=shard.name, sample=key)
        taken, room = int(starts[-1]), shard.bytes - len(tar.END)
        if taken != room:
            what = f"its samples take {taken} bytes, the shard has {room} for them"
            raise DamageError(f"{path}: {shard.name}: {what}", shard=shard.name)
