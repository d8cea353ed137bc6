"""Plan the columns of a batch: which members are read, under which name, and whether as an array or a list."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import FormatError
from shardwright.format.field import Field
from shardwright.webdataset.decode import Decoder, choose_decoder, find_kind, find_user_decoder
from shardwright.webdataset.index_table import IMAGE, TWICE, Form, MemberIndex, MemberSuffix, MemberTable
from shardwright.webdataset.limits import Limits

Decode = Mapping[str, Decoder] | Literal["auto"] | None
Members = Sequence[str] | Mapping[str, str | Sequence[str]] | None

RESERVED = {"key": "the keys of the samples", "valid": "which samples are not padding"}
CHECKED_ROWS = 1 << 18


@dataclass(frozen=True)
class Column:
    """A name in a batch, and the members that its values are decoded from.

    Attributes:
        name: in the batch.
        suffixes: suffixes of these members; if a sample has several of them, the first is read.
        index_columns: the columns of these suffixes in the index, int64 (suffixes,).
        decoders: one for each suffix; None returns the bytes unchanged.
        from_user: whether each decoder is the user's, whose exceptions are not translated.
        form: the dtype and shape that all members have, or None.
        is_integer: whether all members decode to an integer.
    """

    name: str
    suffixes: tuple[str, ...]
    index_columns: NDArray[np.int64]
    decoders: tuple[Decoder | None, ...]
    from_user: tuple[bool, ...]
    form: Form | None
    is_integer: bool

    @cached_property
    def field(self) -> Field | None:
        """The field of the array in a batch; None if it is a list. It depends only on the index."""
        if self.is_integer:
            return Field("int64", ())
        if self.form is None:
            return None
        return Field(np.dtype(self.form.dtype).name, self.form.shape, "HWC" if self.form.kind == IMAGE else "")

    @cached_property
    def member_bytes(self) -> int:
        """The size of each member in bytes, if all are NPY files of one form."""
        if self.form is None:
            return 0
        return self.form.start + np.dtype(self.form.dtype).itemsize * math.prod(self.form.shape)

    def choose(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return which suffix each sample has, int64 (samples,), from the index's offsets (samples, suffixes)."""
        choices: NDArray[np.int64] = np.argmax(offsets[:, self.index_columns] >= 0, axis=1)
        return choices


def plan_columns(index: MemberIndex, members: Members, decode: Decode, limits: Limits) -> tuple[Column, ...]:
    """Return the columns of a dataset.

    Args:
        index: the index of its shards.
        members: see `ShardDataset.from_webdataset`.
        decode: see `ShardDataset.from_webdataset`.
        limits: see `Limits`.

    Raises:
        KeyError: no member has a requested suffix; the message lists the suffixes.
        FormatError: a name is reserved, or `decode` has a suffix that no member has.
    """
    positions = {suffix.name: position for position, suffix in enumerate(index.suffixes)}
    user_decoders = _check_decode(decode, list(positions))
    columns = []
    for name, requested in _list_members(members, list(positions)).items():
        suffixes = tuple(suffix for suffix in requested if suffix in positions)
        if not suffixes:
            choices = " or ".join(map(repr, requested))
            raise KeyError(f"no member has the suffix {choices}, there are {sorted(positions)}")
        if name in RESERVED:
            raise FormatError(
                f"members has the name {name!r}, under which a batch has {RESERVED[name]}; omit these members or "
                f"rename them: members={{{f'other_{name}'!r}: {suffixes[0]!r}, …}}"
            )
        found = [index.suffixes[positions[suffix]] for suffix in suffixes]
        decoders = [None if decode is None else choose_decoder(suffix, user_decoders, limits) for suffix in suffixes]
        from_user = [find_user_decoder(suffix, user_decoders) is not None for suffix in suffixes]
        built_in = decode is not None and not any(from_user)
        columns.append(
            Column(
                name,
                suffixes,
                np.array([positions[suffix] for suffix in suffixes], np.int64),
                tuple(decoders),
                tuple(from_user),
                _find_common_form(found, limits) if built_in else None,
                built_in and all(find_kind(suffix) == "cls" for suffix in suffixes),
            )
        )
    return tuple(columns)


def find_complete(table: MemberTable, columns: Sequence[Column]) -> NDArray[np.bool_]:
    """Return which samples have a member for each column, and no suffix twice: bool (samples,)."""
    complete = np.empty(len(table), np.bool_)
    for row in range(0, len(table), CHECKED_ROWS):
        rows = slice(row, row + CHECKED_ROWS)
        exists = table.offsets[rows] >= 0
        complete[rows] = (table.faults[rows] & TWICE) == 0
        for column in columns:
            complete[rows] &= exists[:, column.index_columns].any(axis=1)
    return complete


def _check_decode(decode: Decode, suffixes: Sequence[str]) -> Mapping[str, Decoder]:
    if decode is None or decode == "auto":
        return {}
    if not isinstance(decode, Mapping) or not all(map(callable, decode.values())):
        raise FormatError(f'decode is {decode!r:.80}; it must be "auto", None or a dict of functions by suffix')
    known = {*suffixes, *(suffix.rpartition(".")[2] for suffix in suffixes)}
    if unknown := sorted(decode.keys() - known):
        raise FormatError(f"decode has {unknown[0]!r}; it must be a suffix of the members: {sorted(suffixes)}")
    return decode


def _list_members(members: Members, suffixes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the requested suffixes for each name in a batch."""
    if members is None:
        return {suffix: (suffix,) for suffix in suffixes}
    if isinstance(members, str):
        raise FormatError(f"members is {members!r}; it must be a list, such as [{members!r}]")
    if not isinstance(members, Mapping):
        return {suffix: (suffix,) for suffix in members}
    return {name: (names,) if isinstance(names, str) else tuple(names) for name, names in members.items()}


def _find_common_form(suffixes: Sequence[MemberSuffix], limits: Limits) -> Form | None:
    known = [suffix for suffix in suffixes if not suffix.unknown]
    form = known[0].form if known else None
    if form is None or any(suffix.form != form for suffix in known):
        return None
    too_large = form.kind == IMAGE and math.prod(form.shape[:2]) > limits.pixels  # each is refused when it is decoded
    return None if too_large else form
