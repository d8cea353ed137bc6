"""One pass over a foreign shard: which members make which sample, where they stand, and what their bytes are."""

import os
import re
from array import array
from pathlib import Path

import numpy as np

from shardwright.errors import DamageError
from shardwright.format.image_header import read_picture_size
from shardwright.format.walk_shard import open_file
from shardwright.webdataset.decode import find_kind
from shardwright.webdataset.index_table import (
    APART,
    TWICE,
    ForeignIndex,
    ForeignShard,
    ForeignSuffix,
    ForeignTable,
    Form,
    check_suffixes,
    find_array_form,
)
from shardwright.webdataset.limits import Limits
from shardwright.webdataset.npy import parse_npy_header
from shardwright.webdataset.tar import Member, TarReader, decode_name

# The rules of webdataset: the key is the folder and the base name up to its first dot, the suffix is what follows.
SPLIT_NAME = re.compile(rb"((?:.*/|)[^./][^./]*)[.]([^/]*)", re.DOTALL)
NOTE = re.compile(rb"__[^/]*__(/|\Z)")
MAX_EXAMPLES = 3


def scan_shard(path: Path, name: str, limits: Limits, unterminated: bool = False) -> ForeignIndex:
    """The index of one shard, from one reading of the whole file, in order.

    Args:
        path: of the shard.
        name: what the index calls it.
        limits: see `Limits`.
        unterminated: see `TarReader`.

    Raises:
        FileNotFoundError: it is not there.
        DamageError, FormatError: see `TarReader.read_members`; or somebody wrote to it meanwhile.
    """
    with open_file(path) as file:
        before = os.fstat(file.fileno())
        reader = TarReader(file, before.st_size, str(path), limits, unterminated)
        grouping = _Grouping(str(path), limits)
        for member in reader.read_members():
            grouping.add(member)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise DamageError(f"{path}: somebody wrote to it while it was read", shard=path.name)
    shard = ForeignShard(
        name,
        after.st_size,
        reader.sha256,
        len(grouping.keys),
        after.st_mtime_ns,
        after.st_ino,
        grouping.ignored,
        tuple(grouping.examples),
    )
    return ForeignIndex((shard,), grouping.list_suffixes(), grouping.make_table())


def split_name(name: bytes) -> tuple[bytes, str] | None:
    """The key and the suffix, in lower case, that a member's name says; None where it belongs to no sample.

    That is a name without a dot, one that begins with a dot, as `.DS_Store` and `._photo.jpg` do, and notes such as
    `__version__`. A suffix that is not UTF-8 has escapes.
    """
    found = SPLIT_NAME.fullmatch(name)
    if not found or NOTE.match(name):
        return None
    return found[1], decode_name(found[2]).lower()


class _Grouping:
    """Members on their way to samples."""

    def __init__(self, shard: str, limits: Limits) -> None:
        self._shard = shard
        self._limits = limits
        self._suffixes: dict[str, _Tally] = {}
        self._rows_by_key: dict[bytes, int] = {}
        self._present: set[int] = set()
        self._places = array("q")  # row, suffix, offset, size, crc32 of each member
        self._faults = bytearray()
        self.keys: list[bytes] = []
        self.ignored = 0
        self.examples: list[str] = []

    def add(self, member: Member) -> None:
        """Take in the next member of the shard."""
        split = split_name(member.name)
        if split is None:
            self.ignored += 1
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append(decode_name(member.name))
            return
        key, suffix = split
        if not self.keys or key != self.keys[-1]:
            self._begin_sample(key)
        row = len(self.keys) - 1
        tally = self._suffixes.get(suffix)
        if tally is None:
            check_suffixes([*self._suffixes, suffix], self._limits)
            tally = self._suffixes[suffix] = _Tally(suffix, len(self._suffixes))
        if tally.number in self._present:
            self._faults[row] |= TWICE
            return
        self._present.add(tally.number)
        tally.add(member)
        self._places.extend((row, tally.number, member.offset, member.size, member.crc32))

    def list_suffixes(self) -> tuple[ForeignSuffix, ...]:
        """The suffixes in the order of the table's columns."""
        return tuple(ForeignSuffix(tally.suffix, tally.form, tally.unknown) for tally in self._suffixes.values())

    def make_table(self) -> ForeignTable:
        """All that was taken in."""
        shape = len(self.keys), len(self._suffixes)
        offsets, sizes = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
        crc32 = np.zeros(shape, np.uint32)
        members = np.frombuffer(self._places, np.int64).reshape(-1, 5) if self._places else np.empty((0, 5), np.int64)
        rows, columns = members[:, 0], members[:, 1]
        offsets[rows, columns], sizes[rows, columns], crc32[rows, columns] = members[:, 2:].T
        return ForeignTable(
            np.frombuffer(b"".join(self.keys), np.uint8),
            np.cumsum([len(key) for key in self.keys], dtype=np.int64),
            np.frombuffer(bytes(self._faults), np.uint8),
            offsets,
            sizes,
            crc32,
        )

    def _begin_sample(self, key: bytes) -> None:
        row = len(self.keys)
        self.keys.append(key)
        self._present.clear()
        earlier = self._rows_by_key.get(key)
        self._faults.append(0 if earlier is None else APART)
        if earlier is not None:
            self._faults[earlier] |= APART
        self._rows_by_key[key] = row


class _Tally:
    """Whether all members with one suffix have one form. Those that nobody can decode do not count."""

    def __init__(self, suffix: str, number: int) -> None:
        self.suffix = suffix
        self.number = number
        self.form: Form | None = None
        self._kind = find_kind(suffix)
        self._settled = self._kind not in ("npy", "picture")
        self._header = b""
        self._size = 0

    @property
    def unknown(self) -> bool:
        """No member has had a form, and none was seen that has another."""
        return self.form is None and not self._settled

    def add(self, member: Member) -> None:
        """Look at the next member."""
        if self._settled or (self._header and member.size == self._size and member.head.startswith(self._header)):
            return
        try:
            form = self._find_form(member)
        except ValueError:
            if len(member.head) == member.size:
                return  # it has no form, and is an error whenever it is decoded
            form = None
        if form is None or self.form not in (None, form):
            self.form, self._settled = None, True
            return
        self.form = form
        if form.kind == "npy":
            self._header, self._size = member.head[: form.start], member.size

    def _find_form(self, member: Member) -> Form | None:
        if self._kind == "picture":
            size = read_picture_size(member.head)
            upright = size.height == size.width or not size.may_turn
            return Form("picture", "|u1", (size.height, size.width, 3)) if upright else None
        header = parse_npy_header(member.head)
        if member.size - header.start != header.nbytes:
            raise ValueError("not as long as its header says")
        return find_array_form(header)
