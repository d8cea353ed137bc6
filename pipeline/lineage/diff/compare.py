"""Two datasets, sample by sample: which came, which went, and of the others what changed. Pure, on arrays."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.diff.sides import DatasetSide, Numbers, SampleArrays
from shardwright.format.field import Field
from shardwright.format.layout import META


def append_spaces(crc32s: NDArray[np.uint32], count: int) -> NDArray[np.uint32]:
    """From the crc32 of some bytes, uint32 (n,), that of the same bytes with `count` spaces behind them.

    What is appended changes a crc32 by a map that is linear over bits but for a constant (zlib's own `crc32_combine`
    stands on it), so the map of 33 values gives that of all.
    """
    spaces = b" " * count
    constant = zlib.crc32(spaces, 0)
    mapped = np.full(len(crc32s), constant, np.uint32)
    for bit in range(32):
        image = zlib.crc32(spaces, 1 << bit) ^ constant
        mapped ^= np.where(crc32s >> np.uint32(bit) & np.uint32(1), np.uint32(image), np.uint32(0))
    return mapped


Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Comparison:
    """What is different; rows are numbers in the sides' samples, in the order of the keys.

    Attributes:
        went: rows of the old side that the new one has not.
        came: rows of the new side that the old one has not.
        old, new: rows of both sides of the samples that are in both.
        changed: by field, and for the meta, which of these samples have another content; fields that only one side
            has are left out, and where a field has another dtype or shape all have.
        split: which of them are in another split.
        shard: which are in the same split, but in another shard.
    """

    went: Numbers
    came: Numbers
    old: Numbers
    new: Numbers
    changed: Mapping[str, Mask]
    split: Mask
    shard: Mask

    @property
    def any_changed(self) -> Mask:
        """Which of the samples in both have anything changed in them."""
        changed: Mask = np.any([np.zeros(len(self.old), bool), *self.changed.values()], axis=0)
        return changed


def compare_samples(old: DatasetSide, new: DatasetSide) -> Comparison:
    """Compare by keys and checksums; no shard is read."""
    left, right = find_common(old.samples.keys, new.samples.keys)
    before, after = old.samples, new.samples
    split = _renumber(before.split_names, after.split_names)[before.splits[left]] != after.splits[right]
    shard = _renumber(before.shard_names, after.shard_names)[before.shards[left]] != after.shards[right]
    return Comparison(
        went=_leave_out(len(old.samples), left),
        came=_leave_out(len(new.samples), right),
        old=left,
        new=right,
        changed=_compare_members(old, new, left, right),
        split=split,
        shard=shard & ~split,
    )


def find_common(old: NDArray[np.bytes_], new: NDArray[np.bytes_]) -> tuple[Numbers, Numbers]:
    """Places in both of the keys that both have; each is sorted and has no key twice."""
    if not len(old) or not len(new):
        return np.empty(0, np.int32), np.empty(0, np.int32)
    at = np.minimum(np.searchsorted(new, old), len(new) - 1).astype(np.int32)
    same = new[at] == old
    return np.flatnonzero(same).astype(np.int32), at[same]


def _leave_out(count: int, rows: Numbers) -> Numbers:
    others = np.ones(count, bool)
    others[rows] = False
    return np.flatnonzero(others).astype(np.int32)


def _renumber(old: Sequence[str], new: Sequence[str]) -> Numbers:
    """For each of the old names its number among the new ones, -1 where it is not there."""
    numbers = {name: number for number, name in enumerate(new)}
    return np.array([numbers.get(name, -1) for name in old], np.int32)


def _compare_members(old: DatasetSide, new: DatasetSide, left: Numbers, right: Numbers) -> dict[str, Mask]:
    places = list(old.manifest.fields), list(new.manifest.fields)
    changed = {}
    for name, field in old.manifest.fields.items():
        if name in new.manifest.fields:
            same_kind = _describe(field) == _describe(new.manifest.fields[name])
            before = old.samples.crc32s[left, places[0].index(name)]
            after = new.samples.crc32s[right, places[1].index(name)]
            changed[name] = (before != after) | (not same_kind)
    changed[META] = _compare_metas(old.samples, new.samples, left, right)
    return changed


def _describe(field: Field) -> tuple[str, tuple[int, ...]]:
    return field.dtype, field.shape


def _compare_metas(old: SampleArrays, new: SampleArrays, left: Numbers, right: Numbers) -> Mask:
    """Metas are padded to the longest of their shard: the shorter padding is made up for before they are compared."""
    before, after = old.crc32s[left, -1].copy(), new.crc32s[right, -1].copy()
    lack = new.metas[right] - old.metas[left]
    for spaces in np.unique(lack[lack != 0]).tolist():
        chosen = lack == spaces
        shorter = before if spaces > 0 else after
        shorter[chosen] = append_spaces(shorter[chosen], abs(spaces))
    changed: Mask = before != after
    return changed
