"""Select items and gather samples one row at a time: the first half of the reference of `align`."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.align.name_samples import find_path, make_key
from pipeline.align.params import AlignParams
from pipeline.align.part_rules import PartRule, Rule
from pipeline.align.parts import Part
from pipeline.align.select_items import TOLERANCE, normalize
from pipeline.errors import InputError
from pipeline.tables.columns import Row
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_item, split_part


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
        part: which part of its sample it is.
        together: items with the same value form one sample.
        material: the path or name that the sample's key is made from; never contains a host.
        label, group, split: of the sample, according to this item; None where it has none.
    """

    row: Row
    part: str
    together: str
    material: str
    label: str | None
    group: str | None
    split: str | None


def select_items(rows: Sequence[Row], params: AlignParams, parts: Sequence[Part]) -> tuple[list[Candidate], list[Drop]]:
    """Return the items that the rules select, and a drop for each of the others."""
    selected, drops = [], []
    for row in rows:
        verdict = _select_item(row, params, parts)
        if isinstance(verdict, Rejection):
            drops.append(verdict.drop(name_item(row)))
        else:
            selected.append(verdict)
    return selected, drops


def _select_item(row: Row, params: AlignParams, parts: Sequence[Part]) -> Candidate | Rejection:
    suitable = [part for part in parts if part.modality == row["modality"]]
    if not suitable:
        modalities = ", ".join(dict.fromkeys(part.modality for part in parts))
        setting = "align.parts" if params.parts.root else "align.modalities"
        return _leave_out("its modality has no rule", row["modality"], setting, modalities)
    if params.within is not None and row["source"] not in params.within:
        return _leave_out("its source is not listed", row["source"], "align.within", ", ".join(params.within))
    refusals = []
    for part in suitable:
        verdict = _apply_rule(row, part)
        if isinstance(verdict, dict):
            return check_span(row) or _build_candidate(row, params, part, verdict)
        refusals.append(verdict)
    first = refusals[0]
    settings, limits = (", ".join(getattr(each, name) for each in refusals) for name in ("setting", "limit"))
    return _leave_out(first.detail, first.value, settings, limits)


def _apply_rule(row: Row, part: Part) -> dict[str, str | None] | Rejection:
    rule = part.rule
    if rule.part is not None and rule.part not in (row["part"], split_part(row["part"])[0]):
        return _leave_out("it is another part of its file", row["part"], f"{part.setting}.part", rule.part)
    groups = _match(rule, row["file"])
    if groups is None:
        setting = f"{part.setting}.pattern"
        return _leave_out("the pattern does not match its path", row["file"], setting, rule.pattern or "")
    return groups


def _leave_out(detail: str, value: str, setting: str, limit: str) -> Rejection:
    return Rejection(Reason.NOT_SELECTED, detail, value, limit, setting)


def _match(rule: Rule, file: str) -> dict[str, str | None] | None:
    """Return the pattern's named groups, empty without a pattern; None where it does not match."""
    if rule.pattern is None:
        return {}
    match = re.fullmatch(rule.pattern, unicodedata.normalize("NFC", file))  # file systems differ in their form
    return match.groupdict() if match else None


def _build_candidate(row: Row, params: AlignParams, part: Part, groups: dict[str, str | None]) -> Candidate | Rejection:
    """Find what the item belongs to, by page, pattern or table."""
    match params.by:
        case "page":
            together = row["page"] or row["url"]  # a page's own text may be on no other page
            material = find_path(together) if together else None
            lacking = "it is on no page"
        case "figure":
            together = row["about"] or (row["url"] if row["part"] == "" else None)
            material = find_path(together) if together else None
            lacking = "it is no image of a page and no caption of one"
        case "pattern":
            together = material = normalize(groups["key"])
            lacking = "the pattern's group key is empty"
        case "table":
            together = material = normalize(row["sample"])
            lacking = "the table gives it no sample"
        case "file":
            file = normalize(row["file"])
            material = file and file + split_part(row["part"])[2]
            together = material and f"//{row['source']}/{material}"
            lacking = "its file has no name"
    if not together or material is None:
        return _leave_out(lacking, "", "align.by", params.by)
    label = {"none": None, "path": groups.get("label"), "column": row["label"], "page": row["page_label"]}
    split = {"hash": None, "path": groups.get("split"), "column": row["split"]}
    return Candidate(
        row,
        part.name,
        together,
        material,
        label=normalize(label[params.label]),
        group=normalize(groups.get("group")) or normalize(row["group"]),
        split=normalize(split[params.split]),
    )


@dataclass(frozen=True, slots=True)
class Sample:
    """Items that belong together, by the name of their part, in the order of the parts.

    `label` and `split` are those that its items agree on; the split is None where the hash decides. `base` is the key
    that it would have undivided.
    """

    key: str
    parts: Mapping[str, tuple[Candidate, ...]]
    label: str | None = None
    split: str | None = None
    base: str = ""

    @property
    def items(self) -> list[Candidate]:
        """Return the items of all parts."""
        return [item for items in self.parts.values() for item in items]

    def drop(self, rejection: Rejection, kept_key: str = "") -> list[Drop]:
        """Return a dropped row for each of its items; `kept_key` is the key of the sample that is kept instead."""
        return [rejection.drop(name_item(item.row), kept_key=kept_key) for item in self.items]


def gather_samples(candidates: Sequence[Candidate], parts: Sequence[Part]) -> tuple[list[Sample], list[Drop]]:
    """Return samples in the order of their keys, and drops for surplus items and for items without their partners.

    Raises:
        InputError: two samples would have the same key; the message names what they were aligned by.
    """
    drops: list[Drop] = []
    gathered: dict[str, dict[str, list[Candidate]]] = defaultdict(lambda: defaultdict(list))
    by_name = {part.name: part for part in parts}
    for candidate in sorted(candidates, key=lambda candidate: _order(candidate.row)):
        items = gathered[candidate.together][candidate.part]
        part = by_name[candidate.part]
        if part.many != "one" and part.most is not None and len(items) == part.most:
            drops.append(_drop_extra(candidate.row, items[0].row, part, part.most))
        else:
            items.append(candidate)
    whole = {}
    for together, found in gathered.items():
        several = next((part for part in parts if part.many == "one" and len(found.get(part.name, ())) > 1), None)
        if several is not None:
            rejection = _reject_ambiguous(several, len(found[several.name]))
            drops += [rejection.drop(name_item(item.row)) for items in found.values() for item in items]
            continue
        missing = [part for part in parts if part.rule.required and part.name not in found]
        if missing:
            drops += [_reject_partial(missing).drop(name_item(item.row)) for items in found.values() for item in items]
        else:
            whole[together] = {part.name: tuple(found[part.name]) for part in parts if part.name in found}
    return _name_samples(whole, parts), drops


def _order(row: Row) -> tuple[Any, ...]:
    name, number, _ = split_part(row["part"])
    start = -1.0 if row["start"] is None else row["start"]
    return row["source"], row["file"], name, number, start, row["part"], row["id"]


def _drop_extra(row: Row, used: Row, part: Part, most: int) -> Drop:
    several = "" if most == 1 else f"{most} of "
    setting = "" if part.many == "first" else f"{part.setting}.most"
    detail = f"its sample already has {several}{part.name}: {name_item(used)}"
    rejection = Rejection(Reason.EXTRA_ITEM, detail, limit=str(most), setting=setting)
    return rejection.drop(name_item(row), kept_key=name_item(used))


def _reject_ambiguous(part: Part, count: int) -> Rejection:
    setting = f"{part.setting}.many" if isinstance(part.rule, PartRule) else "align.parts"
    detail = f"several items of its sample may be its {part.name}"
    return Rejection(Reason.AMBIGUOUS_ITEM, detail, str(count), "one", setting)


def _reject_partial(missing: Sequence[Part]) -> Rejection:
    settings = ", ".join(f"{part.setting}.required" for part in missing)
    detail = f"its sample has no {' and no '.join(part.name for part in missing)}"
    return Rejection(Reason.MISSING_PARTNER, detail, limit="true", setting=settings)


def _name_samples(whole: Mapping[str, Mapping[str, tuple[Candidate, ...]]], parts: Sequence[Part]) -> list[Sample]:
    """Return samples with their keys, in the order of the keys.

    Pages of several hosts may have the same path: the first of them by URL gets the path's key, for the others the URL
    goes into the hash.
    """
    samples: dict[str, Sample] = {}
    taken: dict[str, str] = {}
    for together, found in sorted(whole.items()):
        material = next(iter(found.values()))[0].material
        first = taken.setdefault(material, together)
        suffix = "" if first == together else together
        for identity, divided in _divide(found, parts):
            key = make_key(material, suffix + identity)
            if key in samples:
                raise InputError(
                    f"two samples have the key {key}: rename {together!r}, or leave it out by align.within"
                )
            samples[key] = Sample(key, divided, base=make_key(material, suffix))
    return sorted(samples.values(), key=lambda sample: (sample.base, sample.key))


def _divide(
    found: Mapping[str, tuple[Candidate, ...]], parts: Sequence[Part]
) -> Sequence[tuple[str, Mapping[str, tuple[Candidate, ...]]]]:
    """Return a sample for each item of the part that says so, with what tells it apart."""
    names = [part.name for part in parts if part.many == "each" and part.name in found]
    if not names:
        return [("", found)]
    divided: list[tuple[str, Mapping[str, tuple[Candidate, ...]]]] = []
    seen = set()
    for item in sorted(found[names[0]], key=lambda item: (item.row["source"], item.row["file"])):
        identity = f"#{unicodedata.normalize('NFC', item.row['file']).strip()}#{item.row['part']}"
        if identity in seen:
            identity += f"#{item.row['source']}#{item.row['file']}"
        seen.add(identity)
        divided.append((identity, {name: (item,) if name == names[0] else items for name, items in found.items()}))
    return divided
