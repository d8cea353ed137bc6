"""Splits: groups are dealt out by a hash, or the data says where a sample belongs."""

import hashlib
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from pipeline.align.build_samples import Sample
from pipeline.align.drop_duplicates import find_ties
from pipeline.align.params import AlignParams, Shares
from pipeline.align.select_items import Candidate
from pipeline.errors import InputError, PipelineError
from pipeline.tables.connected_components import find_components
from pipeline.tables.contracts import SPLITS
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_item


def find_groups(samples: Sequence[Sample], params: AlignParams) -> list[str]:
    """The name of each sample's group; `samples` are in the order of their keys.

    Samples are in one group if they name the same group, or are duplicates that may not cross splits, directly or by
    way of others. A group's name is the smallest name that the data gives it, else its smallest key: so a further
    sample changes a group's name only if it joins that group, and moves no other sample.
    """
    first: dict[Hashable, int] = {}
    edges: list[tuple[int, int]] = []
    for number, sample in enumerate(samples):
        for tie in [*_list_names(sample), *find_ties(sample, params)]:
            edges.append((first.setdefault(tie, number), number))
    left, right = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    roots = find_components(len(samples), left, right).tolist()
    names: dict[int, str] = {}
    for sample, root in zip(samples, roots, strict=True):
        for _, name in _list_names(sample):
            names[root] = min(names.get(root, name), name)
    return [names.get(root, samples[root].key) for root in roots]


def _list_names(sample: Sample) -> list[tuple[str, str]]:
    """The groups that its items name, marked so that none is taken for a cluster."""
    return [("named", part.group) for part in sample.parts.values() if part.group]


SPELLINGS = {**{name: name for name in SPLITS}, "training": "train", "validation": "val", "valid": "val", "dev": "val"}
"""What data calls the splits."""

SMALL = 20  # samples: of so few, one group may well be a fifth


@dataclass(frozen=True, slots=True)
class PlacedSample:
    """A sample in its split. No two samples of one group are in different splits."""

    sample: Sample
    group: str
    split: str


def read_splits(samples: Sequence[Sample], params: AlignParams) -> tuple[list[Sample], list[Drop]]:
    """The samples with the split that their items name, and drops for those without a clear one.

    Raises:
        InputError: an item names a split that is not known; the message names both.
    """
    if params.split == "hash":
        return list(samples), []
    kept: list[Sample] = []
    drops: list[Drop] = []
    for sample in samples:
        splits = sorted({_spell(part) for part in sample.parts.values() if part.split})
        if len(splits) == 1:
            kept.append(replace(sample, split=splits[0]))
        elif splits:
            detail = "its sample's items name several splits"
            drops += sample.drop(Rejection(Reason.AMBIGUOUS_SPLIT, detail, ", ".join(splits), "1"))
        else:
            drops += sample.drop(Rejection(Reason.MISSING_SPLIT, "none of its sample's items names a split"))
    return kept, drops


def _spell(part: Candidate) -> str:
    split = SPELLINGS.get((part.split or "").lower())
    if split is None:
        raise InputError(
            f"{name_item(part.row)}: the split {part.split!r} is not known; known are {', '.join(SPELLINGS)}"
        )
    return split


def place_samples(
    samples: Sequence[Sample], groups: Sequence[str], params: AlignParams
) -> tuple[list[PlacedSample], list[Drop]]:
    """Every sample in its split: where the data puts it, else where the hash of its group does.

    Where the data tears a group apart, its samples stay in test, or else in val, and the others of the group are
    dropped: what is tested on must not be trained on, and the tests stay what they were.
    """
    held: dict[str, str] = {}
    for sample, group in zip(samples, groups, strict=True):
        if sample.split is not None:
            held[group] = max(held.get(group, sample.split), sample.split, key=SPLITS.index)
    placed: list[PlacedSample] = []
    drops: list[Drop] = []
    for sample, group in zip(samples, groups, strict=True):
        split = held.get(group) or deal_split(group, params.shares, params.salt)
        if sample.split in (None, split):
            placed.append(PlacedSample(sample, group, split))
        else:
            detail = f"its sample's group {group!r} is also in {split}, and is kept there"
            drops += sample.drop(Rejection(Reason.AMBIGUOUS_SPLIT, detail, sample.split or "", split))
    return placed, drops


def deal_split(group: str, shares: Shares, salt: str) -> str:
    """The split of a group: sha256 of salt and name as a number in [0, 1), held against the shares one after another.

    It depends on nothing else, so groups that come later move none that are there.
    """
    number = int.from_bytes(hashlib.sha256(f"{salt}\0{group}".encode()).digest()[:8]) / 2**64
    dealt = [(split, share) for split, share in shares if share > 0]
    edges = accumulate(share for _, share in dealt)
    return next((split for (split, _), edge in zip(dealt, edges, strict=True) if number < edge), dealt[-1][0])


def check_splits(placed: Sequence[PlacedSample], params: AlignParams) -> None:
    """Hold that no group swallows the rest, where it is not the data that says so.

    Raises:
        PipelineError: a group dealt out by hash holds more than `max_group` of the samples; the message names it and
            the settings.
    """
    if params.split != "hash" or len(placed) <= SMALL:
        return
    group, size = Counter(sample.group for sample in placed).most_common(1)[0]
    if size > params.max_group * len(placed):
        raise PipelineError(
            f"the group {group!r} holds {size} of {len(placed)} samples ({size / len(placed):.0%}), align.max_group "
            f"allows {params.max_group:.0%}: they share duplicates, or a group that the data names. Look at them, then "
            "set align.duplicates.share_split to `all`, or raise align.max_group in params.yaml"
        )
