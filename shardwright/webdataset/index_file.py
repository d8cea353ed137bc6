"""Write and map the index file of WebDataset shards; a file with one wrong bit is refused.

Line 1 is the magic, the version and the sha256 of all that follows, line 2 the length of the JSON text after it, which
lists shards and suffixes. The arrays of `MemberTable` follow, each at a multiple of 64 bytes, little-endian and in C
order; their lengths follow from the JSON text.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import DamageError, FormatError
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.dataclass_json import load_value
from shardwright.format.manifest import SHA256
from shardwright.format.tar import BLOCK
from shardwright.webdataset.index_table import Form, IndexedShard, MemberIndex, MemberSuffix, MemberTable, find_spans

MAGIC = b"shardwright foreign index 1 "
FIRST_LINE = len(MAGIC) + 64 + 1
SECOND_LINE = 20 + 1
ALIGNMENT = 64
CHECKED_ROWS = 1 << 14
"""Rows checked at a time, so that the working memory fits into the caches of a core."""


@dataclass(frozen=True)
class _Suffix:
    """A `MemberSuffix`, with its form as a tuple of one or none."""

    name: str
    forms: tuple[Form, ...]
    unknown: bool


@dataclass(frozen=True)
class _Document:
    shards: tuple[IndexedShard, ...]
    suffixes: tuple[_Suffix, ...]
    key_bytes: int


def write_index_file(path: Path, index: MemberIndex) -> None:
    """Write the index atomically; its folder must exist."""
    suffixes = tuple(_Suffix(s.name, () if s.form is None else (s.form,), s.unknown) for s in index.suffixes)
    document = _Document(index.shards, suffixes, len(index.table.keys))
    text = encode_canonical(asdict(document))
    chunks: list[bytes] = [b"%020d\n" % len(text), text, bytes(-(SECOND_LINE + len(text)) % ALIGNMENT)]
    for name, dtype, shape in _plan_arrays(document):
        values = np.ascontiguousarray(getattr(index.table, name), dtype).reshape(shape)
        chunks += [values.tobytes(), bytes(-values.nbytes % ALIGNMENT)]
    digest = hashlib.sha256()
    for chunk in chunks:
        digest.update(chunk)
    start = MAGIC + digest.hexdigest().encode() + b"\n"
    write_file(path, [start, bytes(-len(start) % ALIGNMENT), *chunks])


def read_index_file(path: Path) -> MemberIndex:
    """Return the index, mapped read-only, after a check of its sha256 and of every offset in it.

    Raises:
        FileNotFoundError: the file does not exist.
        DamageError: its sha256 does not match its content, or it has offsets outside of the shards.
        FormatError: it is not an index, or one of another version.
    """
    with path.open("rb") as file:
        start = file.read(FIRST_LINE)
        if not start.startswith(MAGIC) or not SHA256.fullmatch(start[len(MAGIC) : -1].decode("latin-1")):
            raise FormatError(f"{path} is not an index of this version")
        file.seek(FIRST_LINE + -FIRST_LINE % ALIGNMENT)
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != start[len(MAGIC) : -1].decode():
            raise DamageError(f"{path}: its sha256 does not match its content", shard=path.name)
    try:
        index = _load(np.memmap(path, np.uint8, "r"))
    except (FormatError, ValueError, OverflowError, TypeError) as error:
        raise FormatError(f"{path} is not an index of this version: {error}") from error
    _check_table(path, index)
    return index


def _load(content: NDArray[np.uint8]) -> MemberIndex:
    start = FIRST_LINE + -FIRST_LINE % ALIGNMENT
    length = int(content[start : start + SECOND_LINE].tobytes())
    text = content[start + SECOND_LINE : start + SECOND_LINE + length].tobytes()
    document: _Document = load_value(_Document, decode_json(text), "index")
    position = start + SECOND_LINE + length
    arrays = {}
    for name, dtype, shape in _plan_arrays(document):
        position += -position % ALIGNMENT
        arrays[name] = np.ndarray(shape, dtype, content, position)
        position += arrays[name].nbytes
    if len(content) != position + -position % ALIGNMENT:
        raise ValueError(f"it has {len(content)} bytes; it must have {position}")
    suffixes = tuple(MemberSuffix(s.name, next(iter(s.forms), None), s.unknown) for s in document.suffixes)
    return MemberIndex(document.shards, suffixes, MemberTable(**arrays))


def _plan_arrays(document: _Document) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the name, dtype and shape of each array, in the order of the file."""
    rows = sum(shard.samples for shard in document.shards)
    if document.key_bytes < 0 or any(min(shard.samples, shard.bytes) < 0 for shard in document.shards):
        raise FormatError("it has a count below 0")
    return [
        ("keys", "|u1", (document.key_bytes,)),
        ("key_ends", "<i8", (rows,)),
        ("faults", "|u1", (rows,)),
        ("offsets", "<i8", (rows, len(document.suffixes))),
        ("sizes", "<i8", (rows, len(document.suffixes))),
        ("crc32", "<u4", (rows, len(document.suffixes))),
    ]


def _check_table(path: Path, index: MemberIndex) -> None:
    """Check that all members are inside the shards, and that samples follow each other without overlap."""
    table = index.table
    ends = np.array([shard.bytes for shard in index.shards], np.int64)
    shard_of_row = np.repeat(np.arange(len(ends)), [shard.samples for shard in index.shards])
    good = bool((np.diff(table.key_ends, prepend=0) >= 0).all())
    good = good and (int(table.key_ends[-1]) if len(table) else 0) == len(table.keys)
    last_shard, last_stop = np.full(1, -1), np.zeros(1, np.int64)
    for row in range(0, len(table), CHECKED_ROWS):
        rows = slice(row, row + CHECKED_ROWS)
        offsets, sizes, shards = table.offsets[rows], table.sizes[rows], shard_of_row[rows]
        limits = ends[shards, None]
        exists = offsets >= 0
        inside = (offsets & (BLOCK - 1) == 0) & (offsets <= limits) & (sizes >= 0) & (sizes <= limits - offsets)
        good = good and bool(np.where(exists, inside, offsets == -1).all() and exists.any(axis=1).all())
        if not good:
            break
        starts, stops = find_spans(offsets, sizes)
        shards, stops = np.concatenate([last_shard, shards]), np.concatenate([last_stop, stops])
        good = bool(((shards[1:] != shards[:-1]) | (starts >= stops[:-1])).all())
        last_shard, last_stop = shards[-1:], stops[-1:]
    if not good:
        raise DamageError(f"{path} has offsets outside of the shards, or out of order", shard=path.name)
