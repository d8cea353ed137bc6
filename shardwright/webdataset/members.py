"""Read the members of WebDataset shards, one column of a batch at a time: check and decode them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.read_context import ReadContext
from shardwright.errors import DamageError
from shardwright.format.checksum import compute_crc32
from shardwright.storage.checked_gather import CheckedRows, gather_checked
from shardwright.storage.file_set import ALIGNMENT, FileSet
from shardwright.webdataset.build_index import describe_remedy, is_same_file
from shardwright.webdataset.columns import Column
from shardwright.webdataset.expand_urls import ShardList
from shardwright.webdataset.index_table import Form, MemberIndex, find_array_form
from shardwright.webdataset.npy import parse_npy_header
from shardwright.webdataset.tar import decode_name


@dataclass(frozen=True)
class MemberBatch:
    """The members of one column for the samples of a batch, all int64 of shape (batch,).

    Attributes:
        rows: of the index.
        columns: columns of the index.
        choices: which of the column's suffixes each sample has.
        addresses: start of the contents in the files.
        sizes: of the contents, bytes.
    """

    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    choices: NDArray[np.int64]
    addresses: NDArray[np.int64]
    sizes: NDArray[np.int64]


class MemberReader:
    """Read the members of indexed shards; several threads may use it at once.

    Args:
        index: of the shards.
        shards: in the order of the index.
        files: the shards, open.
    """

    def __init__(self, index: MemberIndex, shards: ShardList, files: FileSet) -> None:
        self._index = index
        self._paths = shards.paths
        self._copies = shards.files
        self._files = files
        self._firsts = index.firsts
        self._checked = np.zeros((len(index.suffixes), len(index.table)), np.bool_)
        self._heads: dict[bytes, Form | None] = {}

    def find_shards(self, rows: Any) -> Any:
        """Return the number of the shard that contains each row of the index."""
        return np.searchsorted(self._firsts, rows, side="right") - 1

    def find_members(self, rows: NDArray[np.int64], column: Column) -> MemberBatch:
        """Return the members of this column for these rows of the index."""
        table = self._index.table
        choices = (
            np.zeros(len(rows), np.int64) if len(column.index_columns) == 1 else column.choose(table.offsets[rows])
        )
        columns = column.index_columns[choices]
        addresses = self._files.starts[self.find_shards(rows)] + table.offsets[rows, columns]
        return MemberBatch(rows, columns, choices, addresses, table.sizes[rows, columns])

    def read_column(self, rows: NDArray[np.int64], column: Column, context: ReadContext) -> NDArray[Any] | list[Any]:
        """Return the column for these rows of the index: an array (batch, *shape) if it has a field, else a list.

        Raises:
            DamageError: a member differs from what was indexed, or cannot be decoded; the message names shard, sample,
                suffix and offset. Exceptions of the user's decoders are raised unchanged, with a note that names them.
        """
        members = self.find_members(rows, column)
        files = context.files or self._files
        if column.form is not None and column.form.kind == "npy":
            return self._gather_arrays(members, column, files, context)
        values = self._decode(members, column, files)
        if column.form is not None:
            return self._stack_images(members, column.form, values, context)
        return np.fromiter(values, np.int64, len(rows)) if column.is_integer else list(values)

    def read_contents(self, rows: NDArray[np.int64], column: Column, files: FileSet | None) -> Iterator[bytes]:
        """Yield the content of the column's member of each of these rows, checked, from a window or the shards.

        Raises:
            DamageError: see `read_column`.
        """
        members = self.find_members(rows, column)
        numbers = (members.rows, members.columns, members.addresses, members.sizes)
        for row, index_column, address, size in zip(*(n.tolist() for n in numbers), strict=True):
            yield self._read(row, index_column, address, size, files or self._files)

    def read_member(self, row: int, index_column: int) -> bytes:
        """Return the content of one member, checked.

        Raises:
            DamageError: see `read_column`.
        """
        table = self._index.table
        address = int(self._files.starts[self.find_shards(row)]) + int(table.offsets[row, index_column])
        return self._read(row, index_column, address, int(table.sizes[row, index_column]), self._files)

    def _decode(self, members: MemberBatch, column: Column, files: FileSet) -> Iterator[Any]:
        """Yield the decoded values one by one, so that only one encoded member is in memory."""
        numbers = (members.rows, members.columns, members.choices, members.addresses, members.sizes)
        for row, index_column, choice, address, size in zip(*(n.tolist() for n in numbers), strict=True):
            content = self._read(row, index_column, address, size, files)
            if (decoder := column.decoders[choice]) is not None:
                yield self._apply(decoder, column.from_user[choice], content, (row, index_column))
            else:
                yield content

    def _apply(self, decoder: Callable[[bytes], Any], from_user: bool, content: bytes, member: tuple[int, int]) -> Any:
        try:
            return decoder(content)
        except Exception as error:
            if from_user:
                error.add_note(self._describe_member(*member))
                raise
            if not isinstance(error, ValueError):
                raise
            raise self.describe_damage(*member, str(error)) from error

    def _read(self, row: int, index_column: int, address: int, size: int, files: FileSet) -> bytes:
        content = files.read(address, size) if size else b""
        if not (files.checked_once and self._checked[index_column, row]):
            self._check(row, index_column, compute_crc32(content))
            if files.checked_once:
                self._checked[index_column, row] = True
        return content

    def _stack_images(
        self, members: MemberBatch, form: Form, values: Iterator[Any], context: ReadContext
    ) -> NDArray[np.uint8]:
        size = int(np.prod(form.shape))
        block = context.allocate(len(members.rows), size)
        if block is None:
            block = np.empty((len(members.rows), size), np.uint8)
        stacked = block.reshape(len(members.rows), *form.shape)
        for at, value in enumerate(values):
            if value.shape != form.shape:
                what = f"it decodes to {value.shape}; its header declares {form.shape}"
                raise self.describe_damage(int(members.rows[at]), int(members.columns[at]), what)
            stacked[at] = value
        return stacked

    def _gather_arrays(
        self, members: MemberBatch, column: Column, files: FileSet, context: ReadContext
    ) -> NDArray[Any]:
        form = column.form
        assert form is not None
        for at in np.flatnonzero(members.sizes != column.member_bytes).tolist():
            row, index_column, size = int(members.rows[at]), int(members.columns[at]), int(members.sizes[at])
            self._read(row, index_column, int(members.addresses[at]), size, files)
            raise self.describe_damage(
                row, index_column, f"it has {size} bytes; NPY files of this form have {column.member_bytes}"
            )
        unchecked = ~self._checked[members.columns, members.rows]
        size = column.member_bytes - form.start
        if form.start % ALIGNMENT == 0:
            out = context.allocate(len(members.rows), size)
            found = gather_checked(files, members.addresses, (form.start, size), unchecked, out)
            block, heads = found.values, found.heads
        else:  # old writers pad headers to multiples of 16 bytes: read all, and copy the values
            found = gather_checked(files, members.addresses, (0, column.member_bytes), unchecked)
            block = np.ascontiguousarray(found.values[:, form.start :])
            heads = found.values[found.rows, : form.start]
        self._check_arrays(members, form, replace(found, heads=heads))
        if files.checked_once:  # a window may have read another file of the same name
            self._checked[members.columns[found.rows], members.rows[found.rows]] = True
        return _shape_arrays(block, form)

    def _check_arrays(self, members: MemberBatch, form: Form, found: CheckedRows) -> None:
        """Check the members that were just gathered, where this is their first delivery."""
        rows, columns = members.rows[found.rows], members.columns[found.rows]
        first = found.heads[0].tobytes() if len(rows) else b""
        same = found.have_head(first) and (not len(rows) or self._find_form(first) == form)
        if same and np.array_equal(found.crc32, self._index.table.crc32[rows, columns]):
            return
        members_found = zip(rows.tolist(), columns.tolist(), found.heads, found.crc32.tolist(), strict=True)
        for row, index_column, head, crc32 in members_found:
            self._check(row, index_column, crc32)
            if self._find_form(head.tobytes()) != form:
                raise self.describe_damage(row, index_column, "its NPY header differs from the others")

    def _find_form(self, head: bytes) -> Form | None:
        """Return the form that an NPY header declares; the few different headers of a set are parsed once."""
        if head not in self._heads:
            try:
                self._heads[head] = find_array_form(parse_npy_header(head))
            except ValueError:
                return None
        return self._heads[head]

    def _check(self, row: int, index_column: int, found: int) -> None:
        expected = int(self._index.table.crc32[row, index_column])
        if found == expected:
            return
        number = int(self.find_shards(row))
        path, file = self._paths[number], self._copies[number]
        changed = not is_same_file(file, self._index.shards[number])
        hint = "; the shard was changed after it was indexed" if changed else ""
        hint += describe_remedy(path, file) if changed or path != file else ""
        raise self.describe_damage(row, index_column, f"its crc32 is {found:08x}, the index says {expected:08x}{hint}")

    def describe_damage(self, row: int, index_column: int, what: str) -> DamageError:
        """Return the error that says what is wrong with one member, and where."""
        return DamageError(
            f"{self._describe_member(row, index_column)}: {what}",
            shard=self._paths[int(self.find_shards(row))].name,
            sample=decode_name(self._index.table.read_key(row)),
            field=self._index.suffixes[index_column].name,
            offset=int(self._index.table.offsets[row, index_column]),
        )

    def _describe_member(self, row: int, index_column: int) -> str:
        table, path = self._index.table, self._paths[int(self.find_shards(row))]
        suffix, offset = self._index.suffixes[index_column].name, int(table.offsets[row, index_column])
        return f"{path}: sample {decode_name(table.read_key(row))!r}, {suffix} at byte {offset}"


def _shape_arrays(block: NDArray[np.uint8], form: Form) -> NDArray[Any]:
    """Convert the bytes of a batch, uint8 (batch, size), to arrays (batch, *shape) in C order and little-endian."""
    stored = np.dtype(form.dtype)
    values = block.view(stored)
    if form.fortran:
        turned = values.reshape(len(block), *form.shape[::-1])
        values = turned.transpose(0, *range(turned.ndim - 1, 0, -1))
    arrays = values.reshape(len(block), *form.shape)
    return np.ascontiguousarray(arrays, stored.newbyteorder("<"))
