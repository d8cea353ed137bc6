"""Read and write the index of a shard: a row a sample, in order, as one `.npy` file beside the shard.

Columns: `key`, the sample's key in ASCII; `crc32`, the checksum of each member's content, in the order of the
manifest's fields and then the meta. Offsets are not stored: they follow from the sample's number and the manifest, see
`shardwright.format.layout`. Only where fields vary in size there are two more columns: `offset`, where the sample
starts in its shard, and `size`, that of the content of each member that varies.

A split that was written as version 1 or 2 has one such file for all its shards, which is read in the same way.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError
from shardwright.format import tar
from shardwright.format.atomic_write import write_file
from shardwright.format.field import Field
from shardwright.format.layout import plan_layout
from shardwright.format.manifest import ShardRecord, Split
from shardwright.format.npy import encode_npy_header

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


def count_index_bytes(fields: Mapping[str, Field], samples: int) -> int:
    """Return the size of the file with the index of so many samples."""
    dtype = index_dtype(fields)
    return len(encode_npy_header(dtype, (samples,))) + samples * dtype.itemsize


class RepeatFinder:
    """Finds keys that occur more than once in several indexes, with 16 bytes of memory a sample.

    Keys are compared by a hash, and only those with equal hashes by all their bytes.
    """

    def __init__(self) -> None:
        self._hashes = [np.empty(0, np.uint64)]

    def add(self, index: Index) -> None:
        """Add the keys of an index."""
        self._hashes.append(_hash_keys(index["key"]))

    def find(self, indexes: Iterable[Index]) -> list[tuple[str, int]]:
        """Return the repeated keys, sorted, each with the number of the last index that has it.

        Args:
            indexes: that were added; requested only where hashes are equal.
        """
        hashes = np.sort(np.concatenate(self._hashes))
        repeated = hashes[1:][hashes[1:] == hashes[:-1]]
        counts: Counter[bytes] = Counter()
        last: dict[bytes, int] = {}
        for number, index in enumerate(indexes if len(repeated) else ()):
            keys = index["key"][np.isin(_hash_keys(index["key"]), repeated)].tolist()
            counts.update(keys)
            last.update(dict.fromkeys(keys, number))
        return [(decode_key(key), last[key]) for key in sorted(counts) if counts[key] > 1]


def _hash_keys(keys: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """Return a hash of each key: uint64 (keys,)."""
    found = np.zeros(len(keys), np.uint64)
    for word in np.ascontiguousarray(keys).view(np.uint64).reshape(len(keys), MAX_KEY_BYTES // 8).T:
        found = (found ^ word) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2**64; odd, so that it is a permutation
        found ^= found >> np.uint64(29)
    return found


def decode_key(key: bytes) -> str:
    """Decode a key. Keys are ASCII; other bytes, which an index from elsewhere may contain, become escapes."""
    return key.decode("ascii", "backslashreplace")


def write_index(path: Path, index: Index, sync: bool = True) -> str:
    """Write an index atomically; return its sha256, 64 hex digits.

    Args:
        path: of the file.
        index: a row a sample.
        sync: see `shardwright.format.atomic_write.write_file`.
    """
    header, rows = encode_npy_header(index.dtype, index.shape), np.ascontiguousarray(index).view(np.uint8).data
    write_file(path, (header, rows), sync)
    digest = hashlib.sha256(header)
    digest.update(rows)
    return digest.hexdigest()


def read_shard_index(folder: Path, fields: Mapping[str, Field], shard: ShardRecord) -> Index:
    """Return the index of a shard of a split, read and checked.

    Raises:
        DamageError: the file is missing, has another sha256, or does not describe the samples of this shard; the
            message names file and shard, for a wrong offset also the sample.
        OSError: it cannot be read.
    """
    path = folder / shard.index_name
    if not path.is_file():
        raise describe_index_damage(path, shard, "missing")
    with path.open("rb") as file:
        return decode_shard_index(file.read(count_index_bytes(fields, shard.samples) + 1), path, fields, shard)


def decode_shard_index(content: bytes, path: object, fields: Mapping[str, Field], shard: ShardRecord) -> Index:
    """Check and return the index of a shard, a read-only view of the bytes of its file.

    Args:
        content: of the file; of a longer file than the manifest describes, one byte more suffices.
        path: of the file, for messages.
        fields: of the samples.
        shard: the record of the shard.

    Raises:
        DamageError: see `read_shard_index`.
    """
    dtype = index_dtype(fields)
    header = encode_npy_header(dtype, (shard.samples,))
    size = len(header) + shard.samples * dtype.itemsize
    found = hashlib.sha256(content).hexdigest()
    if len(content) <= size and found != shard.index_sha256:
        raise describe_index_damage(path, shard, f"its sha256 is {found}, the manifest says {shard.index_sha256}")
    # Compared, not parsed: there is one valid header, and NumPy's parser would accept many.
    if len(content) != size or not content.startswith(header):
        what = f"not the rows that the manifest describes, {shard.samples} of {dtype}"
        raise describe_index_damage(path, shard, what)
    index = np.frombuffer(content, dtype, shard.samples, len(header))
    _check_offsets(path, fields, shard, index)
    return index


def describe_index_damage(path: object, shard: ShardRecord, what: str) -> DamageError:
    """Return the error of a damaged index, which names it and its shard."""
    return DamageError(f"{path}: {what}; it is the index of {shard.name}", shard=shard.name)


def read_split_index(path: Path, fields: Mapping[str, Field], split: Split) -> Index:
    """Return the one index of a split of version 1 or 2, memory-mapped read-only, once sha256 and offsets are checked.

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
        size = file.tell()
        file.seek(0)
        start = file.read(len(header))
    expected = split.index and split.index.sha256
    if found != expected:
        raise DamageError(f"{path}: its sha256 is {found}, the manifest says {expected}", shard=path.name)
    if start != header or size != len(header) + samples * dtype.itemsize:
        raise DamageError(f"{path}: not the rows that the manifest describes, {samples} of {dtype}", shard=path.name)
    index = np.memmap(path, dtype, "r", len(header), (samples,))
    for shard, rows in _cut(np.asarray(index), split):
        _check_offsets(path, fields, shard, rows)
    return index


def open_indexes(folder: Path, fields: Mapping[str, Field], split: Split) -> Callable[[int], Index]:
    """Return a function that reads the index of the shard with a number, each time that it is called.

    The one index of a split of version 1 or 2 is read by this call.

    Raises:
        DamageError, OSError: see `read_split_index`; the function raises what `read_shard_index` does.
    """
    if split.index is None:
        return lambda number: read_shard_index(folder, fields, split.shards[number])
    parts = [rows for _, rows in _cut(np.asarray(read_split_index(folder / split.index.name, fields, split)), split)]
    return parts.__getitem__


def iterate_indexes(folder: Path, fields: Mapping[str, Field], split: Split) -> Iterator[tuple[ShardRecord, Index]]:
    """Yield each shard of the split in `folder` with its index; of an index for each shard, one is in memory at a time.

    Raises:
        DamageError, OSError: see `open_indexes`.
    """
    read = open_indexes(folder, fields, split)
    for number, shard in enumerate(split.shards):
        yield shard, read(number)


def _cut(index: Index, split: Split) -> Iterator[tuple[ShardRecord, Index]]:
    """Yield each shard of a split with its rows of the split's index."""
    first = 0
    for shard in split.shards:
        yield shard, index[first : first + shard.samples]
        first += shard.samples


def _check_offsets(path: object, fields: Mapping[str, Field], shard: ShardRecord, rows: Index) -> None:
    """Check that the samples follow each other without gaps and fill their shard, where the index has offsets.

    So no offset or size of an index leads out of a shard, or into another sample.
    """
    if "offset" not in (rows.dtype.names or ()):
        return
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
