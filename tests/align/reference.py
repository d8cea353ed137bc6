"""Plan samples as the stage `align` does, one row at a time in Python: the reference that its SQL is held to."""

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from pipeline.align.given_splits import SPELLINGS
from pipeline.align.params import AlignParams, Duplicates
from pipeline.align.parts import Part, list_parts
from pipeline.align.split_quotas import make_choice
from pipeline.errors import InputError
from pipeline.tables.columns import Row
from pipeline.tables.connected_components import find_components
from pipeline.tables.contracts import SPLITS
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_item
from tests.align.reference_samples import Candidate, Sample, gather_samples, select_items


def label_samples(samples: Sequence[Sample], params: AlignParams) -> tuple[list[Sample], list[Drop]]:
    """Return the samples with the label that their items agree on, and drops for those without a clear one."""
    if params.label == "none":
        return list(samples), []
    labelled: list[Sample] = []
    drops: list[Drop] = []
    for sample in samples:
        label = _choose_label(sample, params)
        if isinstance(label, Rejection):
            drops += sample.drop(label)
        else:
            labelled.append(replace(sample, label=label))
    return labelled, drops


def _choose_label(sample: Sample, params: AlignParams) -> str | Rejection:
    labels = sorted({part.label for part in sample.items if part.label})
    if not labels:
        detail = "none of its sample's items has a label"
        return Rejection(Reason.MISSING_LABEL, detail, limit=params.label, setting="align.label")
    if len(labels) > 1:
        detail = "its sample's items have several labels"
        return Rejection(Reason.AMBIGUOUS_LABEL, detail, ", ".join(labels), params.label, "align.label")
    if params.classes is not None and labels[0] not in params.classes:
        detail = "its sample's label is not among the classes"
        return Rejection(Reason.UNKNOWN_LABEL, detail, labels[0], ", ".join(params.classes), "align.classes")
    return labels[0]


def find_rare(samples: Sequence[Sample], min_samples: int) -> dict[str, Rejection]:
    """Return a rejection for each label that fewer than `min_samples` samples have."""
    counts = Counter(sample.label for sample in samples if sample.label is not None)
    return {
        label: Rejection(
            Reason.RARE_LABEL,
            f"samples with its label {label!r}",
            str(count),
            str(min_samples),
            "align.min_samples",
        )
        for label, count in counts.items()
        if count < min_samples
    }


def drop_contradictions(
    samples: Sequence[Sample], params: AlignParams, parts: Sequence[Part]
) -> tuple[list[Sample], list[Drop]]:
    """Drop samples whose required parts have the same bytes as those of a sample with another label."""
    if params.label == "none" or params.ambiguous_labels == "keep":
        return list(samples), []
    required = list_required(parts)
    alike: dict[Hashable, list[Sample]] = defaultdict(list)
    for sample in samples:
        alike[_list_clusters(sample, required, "exact_cluster")].append(sample)
    kept: list[Sample] = []
    drops: list[Drop] = []
    for sample in samples:
        same = alike[_list_clusters(sample, required, "exact_cluster")]
        other = next((other for other in same if other.label != sample.label), None)
        if other is None:
            kept.append(sample)
            continue
        first = next(item for name in required for item in other.parts[name])
        detail = f"the same bytes have the label {other.label!r} in {name_item(first.row)}"
        setting = "align.ambiguous_labels"
        drops += sample.drop(Rejection(Reason.AMBIGUOUS_LABEL, detail, sample.label or "", "drop", setting))
    return kept, drops


def drop_duplicates(
    samples: Sequence[Sample], params: AlignParams, parts: Sequence[Part]
) -> tuple[list[Sample], list[Drop]]:
    """Keep the sample with the smallest key of those that repeat each other under the policy `drop`.

    Where the data gives the splits, test comes before val, and val before train: so the test set stays what it was.
    `samples` are in the order of their keys; so are those that are kept.
    """
    required = list_required(parts)
    column = _choose_column(params.duplicates, ("drop",))
    if column is None:
        return list(samples), []
    best: dict[Hashable, Sample] = {}
    for sample in sorted(samples, key=_order_sample):
        best.setdefault(_list_clusters(sample, required, column), sample)
    kept: list[Sample] = []
    drops: list[Drop] = []
    for sample in samples:
        chosen = best[_list_clusters(sample, required, column)]
        if chosen is sample:
            kept.append(sample)
        else:
            drops += sample.drop(_reject(sample, chosen, required), kept_key=chosen.key)
    return kept, drops


def _order_sample(sample: Sample) -> tuple[int, str, str]:
    return -SPLITS.index(sample.split) if sample.split else 0, sample.base, sample.key


def list_required(parts: Sequence[Part]) -> list[str]:
    """Return the names of the parts that every sample has."""
    return [part.name for part in parts if part.rule.required]


def find_ties(sample: Sample, params: AlignParams, parts: Sequence[Part]) -> list[Hashable]:
    """Return the clusters that tie the sample to the split of every other sample with one of them."""
    column = _choose_column(params.duplicates, ("drop", "group"))
    divided: list[Hashable] = [("divided", sample.base)] if sample.base != sample.key else []
    if column is None:
        return divided
    if params.duplicates.share_split == "all":
        return [*divided, _list_clusters(sample, list_required(parts), column)]
    return divided  # see `join_overlaps`


def _choose_column(duplicates: Duplicates, policies: Sequence[str]) -> str | None:
    """Return the near clusters if their policy is among `policies`, else the exact ones, else None."""
    if duplicates.near in policies:
        return "near_cluster"
    return "exact_cluster" if duplicates.exact in policies else None


def _list_clusters(sample: Sample, parts: Sequence[str], column: str) -> Hashable:
    return tuple(tuple((item.row[column], find_span(item)) for item in sample.parts[part]) for part in parts)


def find_span(item: Candidate) -> tuple[float, float | None]:
    """Return the span of a recording; that of a caption has no meaning."""
    timed = item.row["modality"] in ("audio", "video")
    return (item.row["start"] or 0.0, item.row["end"]) if timed else (0.0, None)


def join_overlaps(samples: Sequence[Sample], column: str) -> Iterator[tuple[int, int]]:
    """Yield pairs of samples that have overlapping spans of one recording."""
    spans = [
        (item.row[column], start, math.inf if end is None else end, number)
        for number, sample in enumerate(samples)
        for item in sample.items
        for start, end in [find_span(item)]
    ]
    for left, right in combinations(spans, 2):
        if left[0] == right[0] and left[1] < right[2] and right[1] < left[2]:
            yield left[3], right[3]


def _reject(sample: Sample, kept: Sample, required: Sequence[str]) -> Rejection:
    if _list_clusters(sample, required, "exact_cluster") == _list_clusters(kept, required, "exact_cluster"):
        detail = "its sample has the same bytes as another"
        return Rejection(Reason.DUPLICATE, detail, limit="drop", setting="align.duplicates.exact")
    detail = "its sample looks, sounds or reads like another"
    return Rejection(Reason.NEAR_DUPLICATE, detail, limit="drop", setting="align.duplicates.near")


def find_groups(samples: Sequence[Sample], params: AlignParams, parts: Sequence[Part]) -> list[str]:
    """Return the name of each sample's group; `samples` are in the order of their keys.

    Samples are in one group if they name the same group, or are duplicates that may not cross splits, directly or
    through others. A group's name is the smallest name that the data gives it, else its smallest key: so a new sample
    changes a group's name only if it joins that group, and moves no other sample.
    """
    first: dict[Hashable, int] = {}
    edges: list[tuple[int, int]] = []
    for number, sample in enumerate(samples):
        for tie in [*_list_names(sample), *find_ties(sample, params, parts)]:
            edges.append((first.setdefault(tie, number), number))
    column = _choose_column(params.duplicates, ("drop", "group"))
    if column is not None and params.duplicates.share_split == "any":
        edges += join_overlaps(samples, column)
    left, right = np.array(edges, dtype=np.int64).reshape(-1, 2).T
    roots = find_components(len(samples), left, right).tolist()
    names: dict[int, str] = {}
    for sample, root in zip(samples, roots, strict=True):
        for _, name in _list_names(sample):
            names[root] = min(names.get(root, name), name)
    return [names.get(root, samples[root].base) for root in roots]


def _list_names(sample: Sample) -> list[tuple[str, str]]:
    """Return the groups that its items name, marked so that none is confused with a cluster."""
    return [("named", part.group) for part in sample.items if part.group]


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
        splits = sorted({_spell(part) for part in sample.items if part.split})
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
    """Put every sample into the split that the data names, or else into that of its group's hash or quota.

    Where the data puts one group into several splits, its samples stay in test, or else in val, and the others of the
    group are dropped: so nothing that is tested on is trained on, and the test set stays what it was.
    """
    fixed: dict[str, str] = {}
    for sample, group in zip(samples, groups, strict=True):
        if sample.split is not None:
            fixed[group] = max(fixed.get(group, sample.split), sample.split, key=SPLITS.index)
    placed: list[PlacedSample] = []
    drops: list[Drop] = []
    choose = make_choice(Counter(groups), [(split, share) for split, share in params.shares if share], params.salt)
    for sample, group in zip(samples, groups, strict=True):
        split = fixed.get(group) or choose(group)
        if sample.split in (None, split):
            placed.append(PlacedSample(sample, group, split))
        else:
            detail = f"its sample's group {group!r} is also in {split}, and is kept there"
            drops += _drop_sample(sample, Reason.AMBIGUOUS_SPLIT, detail, sample.split or "", params)
    return placed, drops


@dataclass(frozen=True, slots=True)
class Plan:
    """The samples, in the order of their keys, and a drop for each item that is in none of them."""

    samples: Sequence[PlacedSample]
    drops: Sequence[Drop]


def plan_samples(rows: Sequence[Row], params: AlignParams) -> Plan:
    """Put each cleaned item into one sample, or drop it. The order of `rows` does not matter.

    Labels and given splits are decided before duplicates, so that a sample that is dropped never replaces a good one;
    rare labels come last, when it is known how many samples each label has.
    """
    found = {row["modality"] for row in rows if params.within is None or row["source"] in params.within}
    parts = list_parts(params, found)
    candidates, unselected = select_items(rows, params, parts)
    samples, drops = gather_samples(candidates, parts)
    samples, unlabelled = label_samples(samples, params)
    samples, unsplit = read_splits(samples, params)
    samples, contradictory = drop_contradictions(samples, params, parts)
    samples, repeated = drop_duplicates(samples, params, parts)
    placed, split_groups = place_samples(samples, find_groups(samples, params, parts), params)
    rare = find_rare([each.sample for each in placed], params.min_samples)
    drops += unlabelled + unsplit + contradictory + repeated + split_groups
    kept = []
    for each in placed:
        if each.sample.label in rare:
            drops += each.sample.drop(rare[each.sample.label])
        else:
            kept.append(each)
    return Plan(kept, unselected + _drop_once(kept, drops))


def _drop_once(kept: Sequence[PlacedSample], drops: Sequence[Drop]) -> list[Drop]:
    """Return the first drop of each item that is in no sample that is kept."""
    used = {name_item(item.row) for placed in kept for item in placed.sample.items}
    first: dict[str, Drop] = {}
    for drop in drops:
        first.setdefault(drop.key, drop)
    return [drop for key, drop in first.items() if key not in used]
