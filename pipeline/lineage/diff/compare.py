"""Compare two datasets sample by sample: which were added or removed, and what changed in the others."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.diff.open_dataset import ComparedDataset, Numbers, SampleArrays
from shardwright.format.field import Field
from shardwright.format.layout import META


def append_spaces(crc32s: NDArray[np.uint32], count: int) -> NDArray[np.uint32]:
    """Return the crc32s, uint32 (n,), of the same bytes followed by `count` spaces.

    Appending changes a crc32 by a map that is linear over bits except for a constant (zlib's `crc32_combine` uses
    this), so its values for 33 inputs give all others.
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
    """Differences of the samples, as rows of `SampleArrays`, in the order of the keys.

    Attributes:
        removed: rows of the old dataset that the new one lacks.
        added: rows of the new dataset that the old one lacks.
        old, new: rows of the samples that are in both, in the old and in the new dataset.
        changed: by field, and for the meta, which of these samples have other contents: all, if the dtype or shape of
            the field differs. Fields of one dataset alone are left out.
        split: which of them are in another split.
        shard: which are in another shard of the same split.
    """

    removed: Numbers
    added: Numbers
    old: Numbers
    new: Numbers
    changed: Mapping[str, Mask]
    split: Mask
    shard: Mask

    @property
    def any_changed(self) -> Mask:
        """Return which of the samples in both have any change."""
        changed: Mask = np.any([np.zeros(len(self.old), bool), *self.changed.values()], axis=0)
        return changed


def compare_samples(old: ComparedDataset, new: ComparedDataset) -> Comparison:
    """Compare keys and checksums; no shard is read."""
    left, right = find_common(old.samples.keys, new.samples.keys)
    before, after = old.samples, new.samples
    split = _renumber(before.split_names, after.split_names)[before.splits[left]] != after.splits[right]
    shard = _renumber(before.shard_names, after.shard_names)[before.shards[left]] != after.shards[right]
    return Comparison(
        removed=_list_others(len(old.samples), left),
        added=_list_others(len(new.samples), right),
        old=left,
        new=right,
        changed=_compare_members(old, new, left, right),
        split=split,
        shard=shard & ~split,
    )


def find_common(old: NDArray[np.bytes_], new: NDArray[np.bytes_]) -> tuple[Numbers, Numbers]:
    """Return the indexes in both of the keys that both have; each is sorted and distinct."""
    if not len(old) or not len(new):
        return np.empty(0, np.int32), np.empty(0, np.int32)
    at = np.minimum(np.searchsorted(new, old), len(new) - 1).astype(np.int32)
    same = new[at] == old
    return np.flatnonzero(same).astype(np.int32), at[same]


def _list_others(count: int, rows: Numbers) -> Numbers:
    others = np.ones(count, bool)
    others[rows] = False
    return np.flatnonzero(others).astype(np.int32)


def _renumber(old: Sequence[str], new: Sequence[str]) -> Numbers:
    """Return for each old name its index among the new ones, -1 if it is missing."""
    numbers = {name: number for number, name in enumerate(new)}
    return np.array([numbers.get(name, -1) for name in old], np.int32)


def _compare_members(old: ComparedDataset, new: ComparedDataset, left: Numbers, right: Numbers) -> dict[str, Mask]:
    fields = list(old.manifest.fields), list(new.manifest.fields)
    changed = {}
    for name, field in old.manifest.fields.items():
        if name in new.manifest.fields:
            same_kind = _describe(field) == _describe(new.manifest.fields[name])
            before = old.samples.crc32s[left, fields[0].index(name)]
            after = new.samples.crc32s[right, fields[1].index(name)]
            changed[name] = (before != after) | (not same_kind)
    changed[META] = _compare_metas(old.samples, new.samples, left, right)
    return changed


def _describe(field: Field) -> tuple[str, tuple[int, ...]]:
    return field.dtype, field.shape


def _compare_metas(old: SampleArrays, new: SampleArrays, left: Numbers, right: Numbers) -> Mask:
    """Compare metas. They are padded to the longest of their shard, so the shorter one is padded first."""
    before, after = old.crc32s[left, -1].copy(), new.crc32s[right, -1].copy()
    lack = new.metas[right] - old.metas[left]
    for spaces in np.unique(lack[lack != 0]).tolist():
        chosen = lack == spaces
        shorter = before if spaces > 0 else after
        shorter[chosen] = append_spaces(shorter[chosen], abs(spaces))
    changed: Mask = before != after
    return changed
