"""Which items the rules select, and what each says about the sample that it belongs to."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pipeline.align.params import AlignParams, Rule
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_item
from pipeline.tables.parquet import Row

TOLERANCE = 0.1  # seconds that a span may end after its sound: those who cut by ear round


def check_span(row: Row) -> Rejection | None:
    """Why the item's span cannot be used: it is empty, begins before its sound, or lies beyond its end."""
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

    Items with the same `together` are one sample. `material` is what the sample's key is made of: a path or a name,
    never a host. `label`, `group` and `split` are what the item says of its sample, None where it says nothing.
    """

    row: Row
    together: str
    material: str
    label: str | None
    group: str | None
    split: str | None


def select_items(rows: Sequence[Row], params: AlignParams) -> tuple[list[Candidate], list[Drop]]:
    """The items that the rules select, and a drop for each other one."""
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
    if rule is None:
        return _leave("align.modalities does not list its modality", row["modality"])
    if params.within is not None and row["source"] not in params.within:
        return _leave("its source is not in align.within", row["source"], ", ".join(params.within))
    if rule.part is not None and row["part"] != rule.part:
        return _leave("it is another part of its file than the rule says", row["part"], rule.part)
    groups = _match(rule, row["file"])
    if groups is None:
        return _leave("the pattern of its modality does not match its path", row["file"], rule.pattern or "")
    return check_span(row) or _place(row, params, groups)


def _leave(detail: str, value: str, limit: str = "") -> Rejection:
    return Rejection(Reason.NOT_SELECTED, detail, value, limit)


def _match(rule: Rule, file: str) -> dict[str, str | None] | None:
    """The pattern's named groups, none of them if there is no pattern; None where it does not match."""
    if rule.pattern is None:
        return {}
    match = re.fullmatch(rule.pattern, unicodedata.normalize("NFC", file))  # file systems differ in their form
    return match.groupdict() if match else None


def _place(row: Row, params: AlignParams, groups: dict[str, str | None]) -> Candidate | Rejection:
    """What the item belongs to, by page, pattern or table."""
    match params.by:
        case "page":
            together = row["page"] or row["url"]  # a page's own text may stand on no other page
            material = _find_path(together) if together else None
            lacking = "it is on no page"
        case "pattern":
            together = material = _normalise(groups["key"])
            lacking = "the pattern's group key is empty"
        case "table":
            together = material = _normalise(row["sample"])
            lacking = "the table gives it no sample"
    if not together or material is None:
        return _leave(lacking, "")
    label = {"none": None, "path": groups.get("label"), "column": row["label"], "page": row["page_label"]}
    split = {"hash": None, "path": groups.get("split"), "column": row["split"]}
    return Candidate(
        row,
        together,
        material,
        label=_normalise(label[params.label]),
        group=_normalise(groups.get("group")) or _normalise(row["group"]),
        split=_normalise(split[params.split]),
    )


def _find_path(page: str) -> str:
    """The path of a URL as it would be named in a folder, so that a crawl and a folder give the same keys."""
    parts = urlsplit(page)
    path = unquote(parts.path).lstrip("/")
    return unicodedata.normalize("NFC", f"{path}?{parts.query}" if parts.query else path)


def _normalise(text: str | None) -> str | None:
    """Without outer space, in Unicode's composed form (file systems differ in theirs); None where nothing is left."""
    return unicodedata.normalize("NFC", text).strip() or None if text else None
