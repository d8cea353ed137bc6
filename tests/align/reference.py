"""Plan samples as the stage `align` does, one row at a time in Python: the reference that its SQL is held to."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.align.assign_splits import SPELLINGS, choose_split, sum_shares
from pipeline.align.name_samples import find_path, make_key
from pipeline.align.params import AlignParams, Duplicates, Rule, Rules
from pipeline.align.select_items import TOLERANCE, normalize
from pipeline.errors import InputError
from pipeline.tables.columns import Row
from pipeline.tables.connected_components import find_components
from pipeline.tables.contracts import SPLITS
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_item


def check_span(row: Row) -> Rejection | None:
    """Reject an item whose time span is empty, begins before its recording, or lies beyond its end."""
    start, end = row["start"], row["end"]
    shown = f"{'' if start is None else f'{start:g}'} to {'' if end is None else f'{end:g}'} s"
    if (start is not None and not start >= 0) or (end is not None and not end > (start or 0)):
        return Rejection(Reason.OUT_OF_BOUNDS, "its time span is empty or begins before 0", shown)
    if row["frames"] and row["sample_rate"]:
        seconds = row["frames"] / row["sample_rate"]
        if (start or 0) >= seconds or (end or 0) > seconds + TOLERANCE:
            return Rejection(Reason.OUT_OF_BOUNDS, "its time span lies beyond the end", shown, f"{seconds:g} s")
    return None


@dataclass(frozen=True, slots=True)
class Candidate:
    """A selected item.

    Attributes:
        together: items with the same value form one sample.
        material: the path or name that the sample's key is made from; never contains a host.
        label, group, split: of the sample, according to this item; None where it has none.
    """

    row: Row
    together: str
    material: str
    label: str | None
    group: str | None
    split: str | None


def select_items(rows: Sequence[Row], params: AlignParams) -> tuple[list[Candidate], list[Drop]]:
    """Return the items that the rules select, and a drop for each of the others."""
    rules = params.modalities.selected
    selected, drops = [], []
    for row in rows:
        verdict = _select_item(row, rules.get(row["modality"]), params)
        if isinstance(verdict, Rejection):
            drops.append(verdict.drop(name_item(row)))
        else:
            selected.append(verdict)
    return selected, drops


def _select_item(row: Row, rule: Rule | None, params: AlignParams) -> Candidate | Rejection:
    setting = f"align.modalities.{row['modality']}"
    if rule is None:
        modalities = ", ".join(params.modalities.selected)
        return _leave_out("its modality has no rule", row["modality"], "align.modalities", modalities)
    if params.within is not None and row["source"] not in params.within:
        return _leave_out("its source is not listed", row["source"], "align.within", ", ".join(params.within))
    if rule.part is not None and row["part"] != rule.part:
        return _leave_out("it is another part of its file", row["part"], f"{setting}.part", rule.part)
    groups = _match(rule, row["file"])
    if groups is None:
        return _leave_out("the pattern does not match its path", row["file"], f"{setting}.pattern", rule.pattern or "")
    return check_span(row) or _build_candidate(row, params, groups)


def _leave_out(detail: str, value: str, setting: str, limit: str) -> Rejection:
    return Rejection(Reason.NOT_SELECTED, detail, value, limit, setting)


def _match(rule: Rule, file: str) -> dict[str, str | None] | None:
    """Return the pattern's named groups, empty without a pattern; None where it does not match."""
    if rule.pattern is None:
        return {}
    match = re.fullmatch(rule.pattern, unicodedata.normalize("NFC", file))  # file systems differ in their form
    return match.groupdict() if match else None


def _build_candidate(row: Row, params: AlignParams, groups: dict[str, str | None]) -> Candidate | Rejection:
    """Find what the item belongs to, by page, pattern or table."""
    match params.by:
        case "page":
            together = row["page"] or row["url"]  # a page's own text may be on no other page
            material = find_path(together) if together else None
            lacking = "it is on no page"
        case "pattern":
            together = material = normalize(groups["key"])
            lacking = "the pattern's group key is empty"
        case "table":
            together = material = normalize(row["sample"])
            lacking = "the table gives it no sample"
    if not together or material is None:
        return _leave_out(lacking, "", "align.by", params.by)
    label = {"none": None, "path": groups.get("label"), "column": row["label"], "page": row["page_label"]}
    split = {"hash": None, "path": groups.get("split"), "column": row["split"]}
    return Candidate(
        row,
        together,
        material,
        label=normalize(label[params.label]),
        group=normalize(groups.get("group")) or normalize(row["group"]),
        split=normalize(split[params.split]),
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """Items that belong together, one per modality, in the order of the modalities.

    `label` and `split` are those that its items agree on; the split is None where the hash decides.
    """

    key: str
    parts: Mapping[str, Candidate]
    label: str | None = None
    split: str | None = None

    def drop(self, rejection: Rejection, kept_key: str = "") -> list[Drop]:
        """Return a dropped row for each of its items; `kept_key` is the key of the sample that is kept instead."""
        return [rejection.drop(name_item(part.row), kept_key=kept_key) for part in self.parts.values()]


def gather_samples(candidates: Sequence[Candidate], rules: Mapping[str, Rule]) -> tuple[list[Sample], list[Drop]]:
    """Return samples in the order of their keys, and drops for surplus items and for items without their partners.

    Of several items of a modality the first by source, file, part and id is used.

    Raises:
        InputError: two samples would have the same key; the message names what they were aligned by.
    """
    drops: list[Drop] = []
    gathered: dict[str, dict[str, Candidate]] = defaultdict(dict)
    for candidate in sorted(candidates, key=lambda candidate: _order(candidate.row)):
        parts = gathered[candidate.together]
        first = parts.setdefault(candidate.row["modality"], candidate)
        if first is not candidate:
            drops.append(_drop_extra(candidate.row, first.row))
    whole = {}
    for together, parts in gathered.items():
        missing = [name for name, rule in rules.items() if rule.required and name not in parts]
        if missing:
            drops += [_reject_partial(missing).drop(name_item(part.row)) for part in parts.values()]
        else:
            whole[together] = {name: parts[name] for name in rules if name in parts}
    return _name_samples(whole), drops


def _order(row: Row) -> tuple[str, str, str, str]:
    return row["source"], row["file"], row["part"], row["id"]


def _drop_extra(row: Row, used: Row) -> Drop:
    rejection = Rejection(Reason.EXTRA_ITEM, f"its sample already has {used['modality']}: {name_item(used)}", limit="1")
    return rejection.drop(name_item(row), kept_key=name_item(used))


def _reject_partial(missing: Sequence[str]) -> Rejection:
    settings = ", ".join(f"align.modalities.{name}.required" for name in missing)
    detail = f"its sample has no {' and no '.join(missing)}"
    return Rejection(Reason.MISSING_PARTNER, detail, limit="true", setting=settings)


def _name_samples(whole: Mapping[str, Mapping[str, Candidate]]) -> list[Sample]:
    """Return samples with their keys, in the order of the keys.

    Pages of several hosts may have the same path: the first of them by URL gets the path's key, for the others the URL
    goes into the hash.
    """
    samples: dict[str, Sample] = {}
    taken: dict[str, str] = {}
    for together, parts in sorted(whole.items()):
        material = next(iter(parts.values())).material
        first = taken.setdefault(material, together)
        key = make_key(material, suffix="" if first == together else together)
        if key in samples:
            raise InputError(f"two samples have the key {key}: rename {together!r}, or leave it out by align.within")
        samples[key] = Sample(key, parts)
    return sorted(samples.values(), key=lambda sample: sample.key)


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
    labels = sorted({part.label for part in sample.parts.values() if part.label})
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


def drop_duplicates(samples: Sequence[Sample], params: AlignParams) -> tuple[list[Sample], list[Drop]]:
    """Keep the sample with the smallest key of those that repeat each other under the policy `drop`.

    Where the data gives the splits, test comes before val, and val before train: so the test set stays what it was.
    `samples` are in the order of their keys; so are those that are kept.
    """
    required = params.modalities.required
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


def _order_sample(sample: Sample) -> tuple[int, str]:
    return -SPLITS.index(sample.split) if sample.split else 0, sample.key


def find_ties(sample: Sample, params: AlignParams) -> list[Hashable]:
    """Return the clusters that tie the sample to the split of every other sample with one of them."""
    column = _choose_column(params.duplicates, ("drop", "group"))
    if column is None:
        return []
    if params.duplicates.share_split == "all":
        return [_list_clusters(sample, params.modalities.required, column)]
    return list(_list_clusters(sample, tuple(sample.parts), column))


def _choose_column(duplicates: Duplicates, policies: Sequence[str]) -> str | None:
    """Return the near clusters if their policy is among `policies`, else the exact ones, else None."""
    if duplicates.near in policies:
        return "near_cluster"
    return "exact_cluster" if duplicates.exact in policies else None


def _list_clusters(sample: Sample, modalities: Sequence[str], column: str) -> tuple[str, ...]:
    return tuple(sample.parts[modality].row[column] for modality in modalities)


def _reject(sample: Sample, kept: Sample, required: Sequence[str]) -> Rejection:
    if _list_clusters(sample, required, "exact_cluster") == _list_clusters(kept, required, "exact_cluster"):
        detail = "its sample has the same bytes as another"
        return Rejection(Reason.DUPLICATE, detail, limit="drop", setting="align.duplicates.exact")
    detail = "its sample looks, sounds or reads like another"
    return Rejection(Reason.NEAR_DUPLICATE, detail, limit="drop", setting="align.duplicates.near")


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
        split = fixed.get(group) or choose_split(group, sum_shares(params.shares), params.salt)
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

    @property
    def items(self) -> int:
        """Count the items in samples."""
        return sum(len(placed.sample.parts) for placed in self.samples)


def name_modalities(rows: Sequence[Row], params: AlignParams) -> AlignParams:
    """Return params that name the modalities of the samples: where `params` name none, all those of the items."""
    if params.modalities.selected:
        return params
    found = {row["modality"] for row in rows if params.within is None or row["source"] in params.within}
    return params.model_copy(update={"modalities": Rules({name: Rule() for name in found})})


def plan_samples(rows: Sequence[Row], params: AlignParams) -> Plan:
    """Put each cleaned item into one sample, or drop it. The order of `rows` does not matter.

    Labels and given splits are decided before duplicates, so that a sample that is dropped never replaces a good one;
    rare labels come last, when it is known how many samples each label has.
    """
    params = name_modalities(rows, params)
    candidates, drops = select_items(rows, params)
    samples, incomplete = gather_samples(candidates, params.modalities.selected)
    samples, unlabelled = label_samples(samples, params)
    samples, unsplit = read_splits(samples, params)
    samples, repeated = drop_duplicates(samples, params)
    placed, split_groups = place_samples(samples, find_groups(samples, params), params)
    rare = find_rare([each.sample for each in placed], params.min_samples)
    drops += incomplete + unlabelled + unsplit + repeated + split_groups
    kept = []
    for each in placed:
        if each.sample.label in rare:
            drops += each.sample.drop(rare[each.sample.label])
        else:
            kept.append(each)
    return Plan(kept, drops)
