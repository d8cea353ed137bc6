"""Read and write the index of a split: a row a sample, in order, as one `.npy` file.

Columns: `key`, the sample's key in ASCII; `crc32`, the checksum of each member's content, in the order of the
manifest's fields and then the meta. Offsets are not stored: they follow from the sample's number and the manifest, see
`shardwright.format.layout`. Only where fields vary in size there are two more columns: `offset`, where the sample
starts in its shard, and `size`, that of the content of each member that varies.
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
"""A structured array (samples,) with the columns `key` S64 and `crc32` uint32 (members,), and where fields vary in size
`offset` uint64 () and `size` uint32 (varying fields,)."""


def index_dtype(fields: Mapping[str, Field]) -> np.dtype[Any]:
    """Return the dtype of an index row: 64 bytes for the key, 4 a member; 8 and 4 a varying field, if there are any."""
    columns: list[Any] = [("key", f"S{MAX_KEY_BYTES}"), ("crc32", "<u4", (len(fields) + 1,))]
    if varying := sum(field.varies for field in fields.values()):
        columns += [("offset", "<u8"), ("size", "<u4", (varying,))]
    return np.dtype(columns)


def find_repeats(indexes: Sequence[Index]) -> list[str]:
    """Return the keys that occur more than once, sorted. Takes some 70 bytes of memory a sample."""
    keys = np.concatenate([np.empty(0, "S1"), *(index["key"] for index in indexes)])
    keys.sort()
    return [decode_key(key) for key in np.unique(keys[1:][keys[1:] == keys[:-1]]).tolist()]


def decode_key(key: bytes) -> str:
    """Decode a key. Keys are ASCII; other bytes, which an index from elsewhere may contain, become escapes."""
    return key.decode("ascii", "backslashreplace")


def write_index(path: Path, indexes: Sequence[Index]) -> str:
    """Write the index of a split atomically from one or more parts; return its sha256, 64 hex digits."""
    header = encode_npy_header(indexes[0].dtype, (sum(map(len, indexes)),))
    chunks: tuple[bytes | memoryview, ...] = (header, *(index.view(np.uint8).data for index in indexes))
    write_file(path, chunks)
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    return digest.hexdigest()


def read_index(path: Path, fields: Mapping[str, Field], split: Split) -> Index:
    """Return the index of a split, memory-mapped read-only, once its sha256 and its offsets are checked.

    Raises:
        DamageError: the file is missing, has another sha256, or does not describe the samples of these shards; for a
            wrong offset the message names shard and sample.
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
    # Compared, not parsed: there is one valid header, and NumPy's parser would accept many.
    if start != header or size != len(header) + samples * dtype.itemsize:
        raise DamageError(f"{path}: not the rows that the manifest describes, {samples} of {dtype}", shard=path.name)
    index = np.memmap(path, dtype, "r", len(header), (samples,))
    if "offset" in (dtype.names or ()):
        _check_offsets(path, fields, split, np.asarray(index))
    return index


def _check_offsets(path: Path, fields: Mapping[str, Field], split: Split, index: Index) -> None:
    """Check that the samples follow each other without gaps and fill their shards.

    So no offset or size of an index leads out of a shard, or into another sample.
    """
    first = 0
    for shard in split.shards:
        rows = index[first : first + shard.samples]
        first += shard.samples
        stops = np.cumsum(plan_layout(fields, shard.meta_bytes).compute_strides(rows["size"]))
        starts = np.concatenate([np.zeros(1, np.int64), stops]).astype(np.uint64)
        wrong = np.flatnonzero(rows["offset"] != starts[:-1])
        if len(wrong):
            at = int(wrong[0])
            key = decode_key(rows["key"][at])
            what = f"sample {key!r} starts at byte {rows['offset'][at]}, the samples before it end at {starts[at]}"
            raise DamageError(f"{path}: {shard.name}: {what}", shard=shard.name, sample=key)
        taken, room = int(starts[-1]), shard.bytes - len(tar.END)
        if taken != room:
            what = f"its samples take {taken} bytes, the shard has {room}"
            raise DamageError(f"{path}: {shard.name}: {what}", shard=shard.name)
