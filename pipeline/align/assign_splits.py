"""Assign samples to splits: by a hash of their group, or as the data says."""

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
    """Return the name of each sample's group; `samples` are in the order of their keys.

    Samples are in one group if they name the same group, or are duplicates that may not cross splits, directly or
    through others. A group's name is the smallest name that the data gives it, else its smallest key: so a new sample
    changes a group's name only if it joins that group, and moves no other sample.
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
    """Return the groups that its items name, marked so that none is confused with a cluster."""
    return [("named", part.group) for part in sample.parts.values() if part.group]


SPELLINGS = {**{name: name for name in SPLITS}, "training": "train", "validation": "val", "valid": "val", "dev": "val"}
"""The names that data uses for the splits."""

SMALL = 20  # samples: of so few, one group may well be a fifth


@dataclass(frozen=True, slots=True)
class PlacedSample:
    """A sample in its split. All samples of a group are in the same split."""

    sample: Sample
    group: str
    split: str


def read_splits(samples: Sequence[Sample], params: AlignParams) -> tuple[list[Sample], list[Drop]]:
    """Return the samples with the split that their items name, and drops for those without a clear one.

    Raises:
        InputError: an item names an unknown split; the message names both.
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
            drops += _drop_sample(sample, Reason.AMBIGUOUS_SPLIT, detail, ", ".join(splits), params)
        else:
            detail = "none of its sample's items names a split"
            drops += _drop_sample(sample, Reason.MISSING_SPLIT, detail, "", params)
    return kept, drops


def _spell(part: Candidate) -> str:
    split = SPELLINGS.get((part.split or "").lower())
    if split is None:
        raise InputError(
            f"{name_item(part.row)}: its split is {part.split!r}; it must be one of {', '.join(SPELLINGS)}"
        )
    return split


def _drop_sample(sample: Sample, reason: Reason, detail: str, value: str, params: AlignParams) -> list[Drop]:
    return sample.drop(Rejection(reason, detail, value, params.split, "align.split"))


def place_samples(
    samples: Sequence[Sample], groups: Sequence[str], params: AlignParams
) -> tuple[list[PlacedSample], list[Drop]]:
    """Put every sample into the split that the data names, or else into that of its group's hash.

    Where the data puts one group into several splits, its samples stay in test, or else in val, and the others of the
    group are dropped: so nothing that is tested on is trained on, and the test set stays what it was.
    """
    fixed: dict[str, str] = {}
    for sample, group in zip(samples, groups, strict=True):
        if sample.split is not None:
            fixed[group] = max(fixed.get(group, sample.split), sample.split, key=SPLITS.index)
    placed: list[PlacedSample] = []
    drops: list[Drop] = []
    for sample, group in zip(samples, groups, strict=True):
        split = fixed.get(group) or choose_split(group, params.shares, params.salt)
        if sample.split in (None, split):
            placed.append(PlacedSample(sample, group, split))
        else:
            detail = f"its sample's group {group!r} is also in {split}, and is kept there"
            drops += _drop_sample(sample, Reason.AMBIGUOUS_SPLIT, detail, sample.split or "", params)
    return placed, drops


def choose_split(group: str, shares: Shares, salt: str) -> str:
    """Choose the split of a group: compare sha256 of salt and name, as a number in [0, 1), with the summed shares.

    It depends on nothing else, so new groups move no existing ones.
    """
    number = int.from_bytes(hashlib.sha256(f"{salt}\0{group}".encode()).digest()[:8]) / 2**64
    used = [(split, share) for split, share in shares if share > 0]
    edges = accumulate(share for _, share in used)
    return next((split for (split, _), edge in zip(used, edges, strict=True) if number < edge), used[-1][0])


def check_splits(placed: Sequence[PlacedSample], params: AlignParams) -> None:
    """Check that no group holds most samples, where the hash assigns the splits.

    Raises:
        PipelineError: a group holds more than `max_group` of the samples; the message names it and the settings.
    """
    if params.split != "hash" or len(placed) <= SMALL:
        return
    group, size = Counter(sample.group for sample in placed).most_common(1)[0]
    if size > params.max_group * len(placed):
        raise PipelineError(
            f"align.max_group is {params.max_group:g}, but the group {group!r} holds {size} of {len(placed)} samples "
            f"({size / len(placed):.0%}): they share duplicates, or a group that the data names. Look at them, then "
            "set align.duplicates.share_split to all, or raise align.max_group in params.yaml"
        )
