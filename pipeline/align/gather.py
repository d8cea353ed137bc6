"""Puts the items that belong together into samples."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pipeline.align.key import make_key
from pipeline.align.params import Rule
from pipeline.align.select import Candidate
from pipeline.errors import InputError
from pipeline.item_name import name_item
from pipeline.records import Drop, Reason, Rejection
from pipeline.tables import Row


@dataclass(frozen=True, slots=True)
class Sample:
    """Items that belong together, one a modality, in the order of the modalities.

    `label` and `split` are what its items agree on; the split is None where it is left to the hash.
    """

    key: str
    parts: Mapping[str, Candidate]
    label: str | None = None
    split: str | None = None

    def drop(self, rejection: Rejection) -> list[Drop]:
        """A ledger row for each of its items."""
        return [rejection.drop(name_item(part.row)) for part in self.parts.values()]


def gather_samples(candidates: Sequence[Candidate], rules: Mapping[str, Rule]) -> tuple[list[Sample], list[Drop]]:
    """Samples in the order of their keys, and drops for items that are one too many or whose partners are missing.

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
    detail = f"its sample already has {used['modality']}: {name_item(used)}"
    return Drop(name_item(row), Reason.EXTRA_ITEM, detail, limit="1")


def _reject_partial(missing: Sequence[str]) -> Rejection:
    return Rejection(Reason.MISSING_PARTNER, f"its sample has no {' and no '.join(missing)}")


def _name_samples(whole: Mapping[str, Mapping[str, Candidate]]) -> list[Sample]:
    """Samples with their keys, in the order of the keys.

    Pages of several hosts may have the same path: the first of them by URL has the path's key, for the others the URL
    goes into the hash.
    """
    samples: dict[str, Sample] = {}
    taken: dict[str, str] = {}
    for together, parts in sorted(whole.items()):
        material = next(iter(parts.values())).material
        first = taken.setdefault(material, together)
        key = make_key(material, apart="" if first == together else together)
        if key in samples:
            raise InputError(f"two samples have the key {key}: rename {together!r}, or leave it out by align.within")
        samples[key] = Sample(key, parts)
    return sorted(samples.values(), key=lambda sample: sample.key)
