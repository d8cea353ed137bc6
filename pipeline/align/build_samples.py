"""Build samples: gather the items that belong together, name the samples, and label them."""

import hashlib
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from pipeline.align.params import AlignParams, Rule
from pipeline.align.select_items import Candidate
from pipeline.errors import InputError
from pipeline.tables.columns import Row
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_item

MAX_STEM = 51  # with a dash and the hash 64 characters, the longest key that a shard allows
HASH_DIGITS = 12  # 48 bits: a million samples of one stem collide with a probability of 0.2 %


def make_key(material: str, suffix: str = "") -> str:
    """Return the key, `[A-Za-z0-9_-]{1,64}`, of the sample that was aligned by `material`, a path or a name.

    `animals/birds/owl` gives `animals-birds-owl-` and 12 hex digits: the last components that fit whole, without
    accents, with dashes for other characters. A material without any such character gives the stem `sample`. `suffix`
    goes into the hash alone: it separates samples of the same material.
    """
    digest = hashlib.sha256(f"{material}{suffix}".encode()).hexdigest()[:HASH_DIGITS]
    return f"{_make_stem(material) or 'sample'}-{digest}"


def _make_stem(material: str) -> str:
    plain = unicodedata.normalize("NFKD", material).encode("ascii", "ignore").decode()
    plain = re.sub(r"\.[A-Za-z][A-Za-z0-9]{0,4}$", "", plain)  # a file's extension
    parts = [part for part in (re.sub(r"[^A-Za-z0-9_]+", "-", piece).strip("-") for piece in plain.split("/")) if part]
    stem = ""
    for part in reversed(parts):
        longer = f"{part}-{stem}" if stem else part
        if len(longer) > MAX_STEM:
            break
        stem = longer
    return stem or (parts[-1][:MAX_STEM] if parts else "")


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
