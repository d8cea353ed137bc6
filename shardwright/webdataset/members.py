"""Reads members of foreign shards, one column of a batch at a time, checks them, and decodes them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import ReadContext
from shardwright.errors import DamageError
from shardwright.format.checksum import compute_crc32
from shardwright.storage.file_set import ALIGNMENT, FileSet
from shardwright.webdataset.build_index import HINT, is_same_file
from shardwright.webdataset.columns import Column
from shardwright.webdataset.index_table import ForeignIndex, Form, find_array_form
from shardwright.webdataset.npy import parse_npy_header
from shardwright.webdataset.tar import decode_name


@dataclass(frozen=True)
class Members:
    """The members of one column for the samples of a batch, all int64 of shape (batch,).

    Attributes:
        rows: of the index.
        places: the members' columns in the index.
        choices: which of the column's suffixes each has.
        addresses: where the contents start in the files.
        sizes: of the contents, bytes.
    """

    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    choices: NDArray[np.int64]
    addresses: NDArray[np.int64]
    sizes: NDArray[np.int64]


class MemberReader:
    """Reads the members that an index names; threads may use it at once.

    Args:
        index: of the shards.
        paths: of the shards, in its order.
        files: the shards.
    """

    def __init__(self, index: ForeignIndex, paths: Sequence[Path], files: FileSet) -> None:
        self._index = index
        self._paths = paths
        self._files = files
        self._firsts = index.firsts
        self._checked = np.zeros((len(index.suffixes), len(index.table)), np.bool_)
        self._heads: dict[bytes, Form | None] = {}

    def find_shards(self, rows: Any) -> Any:
        """The number of the shard that each row of the index is in."""
        return np.searchsorted(self._firsts, rows, side="right") - 1

    def find_members(self, rows: NDArray[np.int64], column: Column) -> Members:
        """The members that this column has for these rows of the index."""
        table = self._index.table
        choices = np.zeros(len(rows), np.int64) if len(column.places) == 1 else column.choose(table.offsets[rows])
        places = column.places[choices]
        addresses = self._files.starts[self.find_shards(rows)] + table.offsets[rows, places]
        return Members(rows, places, choices, addresses, table.sizes[rows, places])

    def read_column(self, rows: NDArray[np.int64], column: Column, reading: ReadContext) -> NDArray[Any] | list[Any]:
        """The column for these rows of the index: an array (batch, *shape) where it has a field, else a list.

        Raises:
            DamageError: a member is not what was indexed, or cannot be decoded; the message names shard, sample, suffix
                and offset. What a decoder of the user's raises comes through, with a note that names them.
        """
        members = self.find_members(rows, column)
        files = reading.files or self._files
        if column.form is not None and column.form.kind == "npy":
            return self._gather_arrays(members, column, files, reading)
        values = self._decode(members, column, files)
        if column.form is not None:
            return self._stack_pictures(members, column.form, values, reading)
        return np.fromiter(values, np.int64, len(rows)) if column.counts else list(values)

    def read_member(self, row: int, place: int) -> bytes:
        """The content of one member, checked.

        Raises:
            DamageError: see `read_column`.
        """
        table = self._index.table
        address = int(self._files.starts[self.find_shards(row)]) + int(table.offsets[row, place])
        return self._read(row, place, address, int(table.sizes[row, place]), self._files)

    def _decode(self, members: Members, column: Column, files: FileSet) -> Iterator[Any]:
        """The values one by one, so that only one is there encoded."""
        numbers = (members.rows, members.places, members.choices, members.addresses, members.sizes)
        for row, place, choice, address, size in zip(*(n.tolist() for n in numbers), strict=True):
            content = self._read(row, place, address, size, files)
            decoder = column.decoders[choice]
            yield content if decoder is None else self._apply(decoder, column.own[choice], content, (row, place))

    def _apply(self, decoder: Callable[[bytes], Any], own: bool, content: bytes, member: tuple[int, int]) -> Any:
        try:
            return decoder(content)
        except Exception as error:
            if own:
                error.add_note(self._say_place(*member))
                raise
            if not isinstance(error, ValueError):
                raise
            raise self.blame(*member, str(error)) from error

    def _read(self, row: int, place: int, address: int, size: int, files: FileSet) -> bytes:
        content = files.read(address, size) if size else b""
        if not (files.checked_once and self._checked[place, row]):
            self._check(row, place, compute_crc32(content))
            self._checked[place, row] = True
        return content

    def _stack_pictures(
        self, members: Members, form: Form, values: Iterator[Any], reading: ReadContext
    ) -> NDArray[np.uint8]:
        size = int(np.prod(form.shape))
        block = reading.allocate(len(members.rows), size)
        if block is None:
            block = np.empty((len(members.rows), size), np.uint8)
        stacked = block.reshape(len(members.rows), *form.shape)
        for at, value in enumerate(values):
            if value.shape != form.shape:
                what = f"decodes to {value.shape}, its header says {form.shape}"
                raise self.blame(int(members.rows[at]), int(members.places[at]), what)
            stacked[at] = value
        return stacked

    def _gather_arrays(self, members: Members, column: Column, files: FileSet, reading: ReadContext) -> NDArray[Any]:
        form = column.form
        assert form is not None
        for at in np.flatnonzero(members.sizes != column.member_bytes).tolist():
            row, place, size = int(members.rows[at]), int(members.places[at]), int(members.sizes[at])
            self._read(row, place, int(members.addresses[at]), size, files)
            raise self.blame(row, place, f"{size} bytes, the others have {column.member_bytes}: not a whole NPY file")
        size = column.member_bytes - form.start
        if form.start % ALIGNMENT == 0:
            out = reading.allocate(len(members.rows), size)
            block = files.gather(members.addresses + form.start, size, out)
            self._check_arrays(members, form, block, files)
        else:  # headers of old writers are multiples of 16 bytes: take all, and move the values
            whole = files.gather(members.addresses, column.member_bytes)
            block = np.ascontiguousarray(whole[:, form.start :])
            self._check_arrays(members, form, block, files)
        return _shape_arrays(block, form)

    def _check_arrays(self, members: Members, form: Form, block: NDArray[np.uint8], files: FileSet) -> None:
        """Check what has just been copied, where it is delivered for the first time."""
        checked = self._checked[members.places, members.rows]
        pending = np.flatnonzero(~checked) if files.checked_once else np.arange(len(members.rows))
        if not len(pending):
            return
        heads = files.gather(members.addresses[pending], form.start)
        for at, head in zip(pending.tolist(), heads, strict=True):
            row, place = int(members.rows[at]), int(members.places[at])
            text = head.tobytes()
            self._check(row, place, compute_crc32(block[at], compute_crc32(text)))
            if self._find_form(text) != form:
                raise self.blame(row, place, "its NPY header is not that of the others")
        self._checked[members.places[pending], members.rows[pending]] = True

    def _find_form(self, head: bytes) -> Form | None:
        """What an NPY header says; the few that a set has are parsed once."""
        if head not in self._heads:
            try:
                self._heads[head] = find_array_form(parse_npy_header(head))
            except ValueError:
                return None
        return self._heads[head]

    def _check(self, row: int, place: int, found: int) -> None:
        wanted = int(self._index.table.crc32[row, place])
        if found == wanted:
            return
        number = int(self.find_shards(row))
        changed = not is_same_file(self._paths[number], self._index.shards[number])
        hint = f"; the shard was changed after it was indexed: {HINT}" if changed else ""
        raise self.blame(row, place, f"its crc32 is {found:08x}, the index says {wanted:08x}{hint}")

    def blame(self, row: int, place: int, what: str) -> DamageError:
        """The error for one member."""
        return DamageError(
            f"{self._say_place(row, place)}: {what}",
            shard=self._paths[int(self.find_shards(row))].name,
            sample=decode_name(self._index.table.read_key(row)),
            field=self._index.suffixes[place].name,
            offset=int(self._index.table.offsets[row, place]),
        )

    def _say_place(self, row: int, place: int) -> str:
        table, path = self._index.table, self._paths[int(self.find_shards(row))]
        suffix, offset = self._index.suffixes[place].name, int(table.offsets[row, place])
        return f"{path}: sample {decode_name(table.read_key(row))!r}, {suffix} at byte {offset}"


def _shape_arrays(block: NDArray[np.uint8], form: Form) -> NDArray[Any]:
    """The arrays in the bytes of a batch, uint8 (batch, size): (batch, *shape) in C order and little-endian."""
    stored = np.dtype(form.dtype)
    values = block.view(stored)
    if form.fortran:
        turned = values.reshape(len(block), *form.shape[::-1])
        values = turned.transpose(0, *range(turned.ndim - 1, 0, -1))
    arrays = values.reshape(len(block), *form.shape)
    return np.ascontiguousarray(arrays, stored.newbyteorder("<"))
