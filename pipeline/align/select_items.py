"""Select the items that the rules name, and read from each what it says about its sample."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from pipeline.align.params import AlignParams, Rule
from pipeline.tables.columns import Row
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_item

TOLERANCE = 0.1  # seconds that a span may end after its recording: people who cut by ear round


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
            material = _find_path(together) if together else None
            lacking = "it is on no page"
        case "pattern":
            together = material = _normalize(groups["key"])
            lacking = "the pattern's group key is empty"
        case "table":
            together = material = _normalize(row["sample"])
            lacking = "the table gives it no sample"
    if not together or material is None:
        return _leave_out(lacking, "", "align.by", params.by)
    label = {"none": None, "path": groups.get("label"), "column": row["label"], "page": row["page_label"]}
    split = {"hash": None, "path": groups.get("split"), "column": row["split"]}
    return Candidate(
        row,
        together,
        material,
        label=_normalize(label[params.label]),
        group=_normalize(groups.get("group")) or _normalize(row["group"]),
        split=_normalize(split[params.split]),
    )


def _find_path(page: str) -> str:
    """Return the path of a URL as a folder would name it, so that a crawl and a folder give the same keys."""
    parts = urlsplit(page)
    path = unquote(parts.path).lstrip("/")
    return unicodedata.normalize("NFC", f"{path}?{parts.query}" if parts.query else path)


def _normalize(text: str | None) -> str | None:
    """Strip outer space and compose Unicode (file systems differ in their form); None where nothing is left."""
    return unicodedata.normalize("NFC", text).strip() or None if text else None
