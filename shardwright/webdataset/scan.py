"""Scan a WebDataset shard once: group its members into samples, and record their offsets, sizes and crc32."""

import os
import re
from array import array
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shardwright.errors import DamageError
from shardwright.format.image_header import read_image_size
from shardwright.format.walk_shard import open_file
from shardwright.webdataset.decode import find_kind
from shardwright.webdataset.index_table import (
    APART,
    IMAGE,
    TWICE,
    Form,
    IndexedShard,
    MemberIndex,
    MemberSuffix,
    MemberTable,
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


@dataclass(frozen=True)
class ScannedFile:
    """A shard to scan.

    Attributes:
        path: of the tar.
        name: of the shard in the index.
        shown: the path that messages have: of the shard itself, where the tar is its decompressed copy.
    """

    path: Path
    name: str
    shown: str


def scan_shard(scanned: ScannedFile, limits: Limits, unterminated: bool = False) -> MemberIndex:
    """Return the index of one shard, reading the whole file once, sequentially.

    Args:
        scanned: the shard.
        limits: see `Limits`.
        unterminated: see `TarReader`.

    Raises:
        FileNotFoundError: the shard does not exist.
        DamageError, FormatError: see `TarReader.read_members`; or the file changed while it was read.
    """
    with open_file(scanned.path) as file:
        before = os.fstat(file.fileno())
        reader = TarReader(file, before.st_size, scanned.shown, limits, unterminated)
        grouping = _Grouping(limits)
        for member in reader.read_members():
            grouping.add(member)
        after = os.fstat(file.fileno())
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        what = f"{scanned.shown} was written to while it was indexed; index it when its writer is done"
        raise DamageError(what, shard=scanned.path.name)
    shard = IndexedShard(
        scanned.name,
        after.st_size,
        reader.sha256,
        len(grouping.keys),
        after.st_mtime_ns,
        after.st_ino,
        grouping.ignored,
        tuple(grouping.examples),
    )
    return MemberIndex((shard,), grouping.list_suffixes(), grouping.make_table())


def split_name(name: bytes) -> tuple[bytes, str] | None:
    """Split a member's name into key and suffix, in lower case; None if it belongs to no sample.

    Names without a dot, names that begin with a dot, such as `.DS_Store` and `._photo.jpg`, and notes such as
    `__version__` belong to none. Bytes of a suffix that are not UTF-8 are escaped.
    """
    found = SPLIT_NAME.fullmatch(name)
    if not found or NOTE.match(name):
        return None
    return found[1], decode_name(found[2]).lower()


class _Grouping:
    """Group the members of a shard into samples."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._suffixes: dict[str, _FormFinder] = {}
        self._rows_by_key: dict[bytes, int] = {}
        self._present: set[int] = set()
        self._members = array("q")  # row, suffix, offset, size, crc32 of each member
        self._faults = bytearray()
        self.keys: list[bytes] = []
        self.ignored = 0
        self.examples: list[str] = []

    def add(self, member: Member) -> None:
        """Add the next member of the shard."""
        split = split_name(member.name)
        if split is None:
            self.ignored += 1
            if len(self.examples) < MAX_EXAMPLES:
                self.examples.append(decode_name(member.name))
            return
        key, suffix = split
        if not self.keys or key != self.keys[-1]:
            self._start_sample(key)
        row = len(self.keys) - 1
        finder = self._suffixes.get(suffix)
        if finder is None:
            check_suffixes([*self._suffixes, suffix], self._limits)
            finder = self._suffixes[suffix] = _FormFinder(suffix, len(self._suffixes))
        if finder.number in self._present:
            self._faults[row] |= TWICE
            return
        self._present.add(finder.number)
        finder.add(member)
        self._members.extend((row, finder.number, member.offset, member.size, member.crc32))

    def list_suffixes(self) -> tuple[MemberSuffix, ...]:
        """Return the suffixes in the order of the table's columns."""
        return tuple(MemberSuffix(finder.suffix, finder.form, finder.unknown) for finder in self._suffixes.values())

    def make_table(self) -> MemberTable:
        """Return the table of all members that were added."""
        shape = len(self.keys), len(self._suffixes)
        offsets, sizes = np.full(shape, -1, np.int64), np.zeros(shape, np.int64)
        crc32 = np.zeros(shape, np.uint32)
        members = np.frombuffer(self._members, np.int64).reshape(-1, 5) if self._members else np.empty((0, 5), np.int64)
        rows, columns = members[:, 0], members[:, 1]
        offsets[rows, columns], sizes[rows, columns], crc32[rows, columns] = members[:, 2:].T
        return MemberTable(
            np.frombuffer(b"".join(self.keys), np.uint8),
            np.cumsum([len(key) for key in self.keys], dtype=np.int64),
            np.frombuffer(bytes(self._faults), np.uint8),
            offsets,
            sizes,
            crc32,
        )

    def _start_sample(self, key: bytes) -> None:
        row = len(self.keys)
        self.keys.append(key)
        self._present.clear()
        earlier = self._rows_by_key.get(key)
        self._faults.append(0 if earlier is None else APART)
        if earlier is not None:
            self._faults[earlier] |= APART
        self._rows_by_key[key] = row


class _FormFinder:
    """Find the form that all members with one suffix share; members that cannot be decoded are ignored."""

    def __init__(self, suffix: str, number: int) -> None:
        self.suffix = suffix
        self.number = number
        self.form: Form | None = None
        self._kind = find_kind(suffix)
        self._decided = self._kind not in ("npy", "image")
        self._header = b""
        self._size = 0

    @property
    def unknown(self) -> bool:
        """Whether no member had a readable header so far."""
        return self.form is None and not self._decided

    def add(self, member: Member) -> None:
        """Compare the next member with those before it."""
        if self._decided or (self._header and member.size == self._size and member.head.startswith(self._header)):
            return
        try:
            form = self._find_form(member)
        except ValueError:
            if len(member.head) == member.size:
                return  # it cannot be decoded, which is an error when it is delivered
            form = None
        if form is None or self.form not in (None, form):
            self.form, self._decided = None, True
            return
        self.form = form
        if form.kind == "npy":
            self._header, self._size = member.head[: form.start], member.size

    def _find_form(self, member: Member) -> Form | None:
        if self._kind == "image":
            size = read_image_size(member.head)
            upright = size.height == size.width or not size.may_turn
            return Form(IMAGE, "|u1", (size.height, size.width, 3)) if upright else None
        header = parse_npy_header(member.head)
        if member.size - header.start != header.nbytes:
            raise ValueError("its size does not match its header")
        return find_array_form(header)
