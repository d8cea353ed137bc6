"""The index of foreign shards as a file: mapped, not read, and worthless the moment one bit of it is wrong.

Line 1 is the magic, the version and the sha256 of all that follows, line 2 the length of the JSON text after it, which
lists shards and suffixes. Then come the arrays of `ForeignTable`, each from a multiple of 64 bytes on, little-endian
and in C order; their lengths follow from the JSON text.
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
from shardwright.webdataset.index_table import ForeignIndex, ForeignShard, ForeignSuffix, ForeignTable, Form, find_spans

MAGIC = b"shardwright foreign index 1 "
FIRST_LINE = len(MAGIC) + 64 + 1
SECOND_LINE = 20 + 1
ALIGNMENT = 64
CHECKED_ROWS = 1 << 14
"""Rows that are checked at a time, so that the memory for it stays in the caches of a core."""


@dataclass(frozen=True)
class _Suffix:
    """A `ForeignSuffix`, with its form, or none, as an array."""

    name: str
    forms: tuple[Form, ...]
    unknown: bool


@dataclass(frozen=True)
class _Document:
    shards: tuple[ForeignShard, ...]
    suffixes: tuple[_Suffix, ...]
    key_bytes: int


def write_foreign_index(path: Path, index: ForeignIndex) -> None:
    """Write the index whole or not at all; its folder must be there."""
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


def read_foreign_index(path: Path) -> ForeignIndex:
    """The index, mapped read-only, after a check of its sha256 and of every place that it names.

    Raises:
        FileNotFoundError: there is none.
        DamageError: its sha256 is not that of its content, or it names places outside of the shards.
        FormatError: it is no index, or one of another version.
    """
    with path.open("rb") as file:
        start = file.read(FIRST_LINE)
        if not start.startswith(MAGIC) or not SHA256.fullmatch(start[len(MAGIC) : -1].decode("latin-1")):
            raise FormatError(f"{path}: no index of this version")
        file.seek(FIRST_LINE + -FIRST_LINE % ALIGNMENT)
        found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != start[len(MAGIC) : -1].decode():
            raise DamageError(f"{path}: its sha256 is not the one it says", shard=path.name)
    try:
        index = _load(np.memmap(path, np.uint8, "r"))
    except (FormatError, ValueError, OverflowError, TypeError) as error:
        raise FormatError(f"{path}: no index of this version: {error}") from error
    _check_table(path, index)
    return index


def _load(content: NDArray[np.uint8]) -> ForeignIndex:
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
        raise ValueError(f"{len(content)} bytes, {position} are wanted")
    suffixes = tuple(ForeignSuffix(s.name, next(iter(s.forms), None), s.unknown) for s in document.suffixes)
    return ForeignIndex(document.shards, suffixes, ForeignTable(**arrays))


def _plan_arrays(document: _Document) -> list[tuple[str, str, tuple[int, ...]]]:
    """Name, dtype and shape of each array, in the order of the file."""
    rows = sum(shard.samples for shard in document.shards)
    if document.key_bytes < 0 or any(min(shard.samples, shard.bytes) < 0 for shard in document.shards):
        raise FormatError("a number below 0")
    return [
        ("keys", "|u1", (document.key_bytes,)),
        ("key_ends", "<i8", (rows,)),
        ("faults", "|u1", (rows,)),
        ("offsets", "<i8", (rows, len(document.suffixes))),
        ("sizes", "<i8", (rows, len(document.suffixes))),
        ("crc32", "<u4", (rows, len(document.suffixes))),
    ]


def _check_table(path: Path, index: ForeignIndex) -> None:
    """Nothing may be read outside of the shards, and samples stand one after another, whoever wrote the index."""
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
        there = offsets >= 0
        inside = (offsets & (BLOCK - 1) == 0) & (offsets <= limits) & (sizes >= 0) & (sizes <= limits - offsets)
        good = good and bool(np.where(there, inside, offsets == -1).all() and there.any(axis=1).all())
        if not good:
            break
        starts, stops = find_spans(offsets, sizes)
        shards, stops = np.concatenate([last_shard, shards]), np.concatenate([last_stop, stops])
        good = bool(((shards[1:] != shards[:-1]) | (starts >= stops[:-1])).all())
        last_shard, last_stop = shards[-1:], stops[-1:]
    if not good:
        raise DamageError(f"{path}: it names places that are not in the shards", shard=path.name)
