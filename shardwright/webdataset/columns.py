"""Which members of foreign samples are read, under which name, and what a batch has of them: an array or a list."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import FormatError
from shardwright.format.field import Field
from shardwright.webdataset.decode import Decoder, choose_decoder, find_kind, find_own
from shardwright.webdataset.index_table import TWICE, ForeignIndex, ForeignSuffix, ForeignTable, Form
from shardwright.webdataset.limits import Limits

Decode = Mapping[str, Decoder] | Literal["auto"] | None
Members = Sequence[str] | Mapping[str, str | Sequence[str]] | None

RESERVED = {"key": "the samples' keys", "valid": "which samples of a batch are no repeats"}
CHECKED_ROWS = 1 << 18


@dataclass(frozen=True)
class Column:
    """What a batch has under one name.

    Attributes:
        name: in the batch.
        suffixes: of the members that it may be; of several in a sample, the first.
        places: their columns in the index.
        decoders: theirs; None where the bytes are delivered as they are.
        own: whether each decoder is the user's, whose exceptions are the user's as well.
        form: what all members have in common, or None.
        counts: whether all decode to one integer.
    """

    name: str
    suffixes: tuple[str, ...]
    places: NDArray[np.int64]
    decoders: tuple[Decoder | None, ...]
    own: tuple[bool, ...]
    form: Form | None
    counts: bool

    @cached_property
    def field(self) -> Field | None:
        """What each array of it is; None where a batch has a list of values. It depends on the index alone."""
        if self.counts:
            return Field("int64", ())
        if self.form is None:
            return None
        return Field(np.dtype(self.form.dtype).name, self.form.shape, "HWC" if self.form.kind == "picture" else "")

    @cached_property
    def member_bytes(self) -> int:
        """The size of each member, where `form` is that of an array."""
        if self.form is None:
            return 0
        return self.form.start + np.dtype(self.form.dtype).itemsize * math.prod(self.form.shape)

    def choose(self, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
        """Which of the suffixes each sample has, int64 (samples,), of its offsets (samples, suffixes) in the index."""
        choices: NDArray[np.int64] = np.argmax(offsets[:, self.places] >= 0, axis=1)
        return choices


def plan_columns(index: ForeignIndex, members: Members, decode: Decode, limits: Limits) -> tuple[Column, ...]:
    """The columns of a dataset.

    Args:
        index: of its shards.
        members: see `ShardDataset.from_webdataset`.
        decode: see there.
        limits: see `Limits`.

    Raises:
        KeyError: a suffix is wanted that no member has; the message names those there are.
        FormatError: a name is taken, or `decode` is for a suffix that no member has.
    """
    places = {suffix.name: place for place, suffix in enumerate(index.suffixes)}
    own = _check_decode(decode, list(places))
    columns = []
    for name, wanted in _list_members(members, list(places)).items():
        suffixes = tuple(suffix for suffix in wanted if suffix in places)
        if not suffixes:
            raise KeyError(f"no member has the suffix {' or '.join(map(repr, wanted))}, there are {sorted(places)}")
        if name in RESERVED:
            raise FormatError(
                f"a batch has {RESERVED[name]} under {name!r}: leave these members out or name them otherwise, "
                f"members={{{f'other_{name}'!r}: {suffixes[0]!r}, …}}"
            )
        found = [index.suffixes[places[suffix]] for suffix in suffixes]
        decoders = [None if decode is None else choose_decoder(suffix, own, limits) for suffix in suffixes]
        theirs = [find_own(suffix, own) is not None for suffix in suffixes]
        plain = decode is not None and not any(theirs)
        columns.append(
            Column(
                name,
                suffixes,
                np.array([places[suffix] for suffix in suffixes], np.int64),
                tuple(decoders),
                tuple(theirs),
                _find_common_form(found, limits) if plain else None,
                plain and all(find_kind(suffix) == "cls" for suffix in suffixes),
            )
        )
    return tuple(columns)


def find_whole(table: ForeignTable, columns: Sequence[Column]) -> NDArray[np.bool_]:
    """Which samples have a member of each column, and no suffix twice: bool (samples,)."""
    whole = np.empty(len(table), np.bool_)
    for row in range(0, len(table), CHECKED_ROWS):
        rows = slice(row, row + CHECKED_ROWS)
        there = table.offsets[rows] >= 0
        whole[rows] = (table.faults[rows] & TWICE) == 0
        for column in columns:
            whole[rows] &= there[:, column.places].any(axis=1)
    return whole


def _check_decode(decode: Decode, suffixes: Sequence[str]) -> Mapping[str, Decoder]:
    if decode is None or decode == "auto":
        return {}
    if not isinstance(decode, Mapping) or not all(map(callable, decode.values())):
        raise FormatError(f'decode is {decode!r:.80}, "auto", None or functions by suffix are wanted')
    known = {*suffixes, *(suffix.rpartition(".")[2] for suffix in suffixes)}
    if unknown := sorted(decode.keys() - known):
        raise FormatError(f"decode has {unknown[0]!r}, no member has this suffix, there are {sorted(suffixes)}")
    return decode


def _list_members(members: Members, suffixes: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """The suffixes wanted, by the name in a batch."""
    if members is None:
        return {suffix: (suffix,) for suffix in suffixes}
    if isinstance(members, str):
        raise FormatError(f"members is {members!r}, a list such as [{members!r}] is wanted")
    if not isinstance(members, Mapping):
        return {suffix: (suffix,) for suffix in members}
    return {name: (wanted,) if isinstance(wanted, str) else tuple(wanted) for name, wanted in members.items()}


def _find_common_form(suffixes: Sequence[ForeignSuffix], limits: Limits) -> Form | None:
    known = [suffix for suffix in suffixes if not suffix.unknown]
    form = known[0].form if known else None
    if form is None or any(suffix.form != form for suffix in known):
        return None
    too_large = form.kind == "picture" and math.prod(form.shape[:2]) > limits.pixels  # refused one by one
    return None if too_large else form
