"""Which key of `params.yaml` decided that something was dropped."""

import re
from collections.abc import Mapping

from pipeline.tables.contracts import MODALITIES
from pipeline.tables.drops import Reason

_NAMED = re.compile(r"\b(?:crawl|ingest|clean|align|extract|run)\.[a-z_]+(?:\.[a-z_]+)*")
"""A key in the text of a detail."""

SETTINGS: Mapping[tuple[str, str], str] = {
    ("ingest", Reason.PART_NOT_SELECTED): "ingest.text",
    ("align", Reason.AMBIGUOUS_LABEL): "align.label",
    ("align", Reason.AMBIGUOUS_SPLIT): "align.split",
    ("align", Reason.DUPLICATE): "align.duplicates.exact",
    ("align", Reason.MISSING_LABEL): "align.label",
    ("align", Reason.MISSING_SPLIT): "align.split",
    ("align", Reason.NEAR_DUPLICATE): "align.duplicates.near",
    ("align", Reason.NOT_SELECTED): "align.by",
    ("align", Reason.RARE_LABEL): "align.min_samples",
}
"""By stage and reason, where the detail names no key."""

CLEAN_SETTINGS: Mapping[tuple[str, str], str] = {
    ("image", Reason.FLAT): "min_contrast",
    ("image", Reason.TOO_MANY_PIXELS): "max_pixels",
    ("image", Reason.TOO_SMALL): "min_side",
    ("audio", Reason.SILENT): "min_level",
    ("audio", Reason.TOO_LONG): "max_seconds",
    ("audio", Reason.TOO_MANY_CHANNELS): "max_channels",
    ("audio", Reason.TOO_SHORT): "min_seconds",
    ("text", Reason.TOO_LONG): "max_characters",
    ("text", Reason.TOO_SHORT): "min_characters",
}
"""Keys of the modality's block in `clean`."""

RULES: Mapping[str, str] = {
    "it is another part of its file than the rule says": "part",
    "the pattern of its modality does not match its path": "pattern",
}
"""Keys of the modality's rule in `align.modalities`, by the detail: both are `not_selected`."""

QUOTING = frozenset(
    {Reason.AMBIGUOUS_SPLIT, Reason.BAD_URL, Reason.DUPLICATE, Reason.EXTRA_ITEM, Reason.OPTED_OUT, Reason.RARE_LABEL}
)
"""Whose details have other people's words in them: a file may be called `clean.png`."""


def find_setting(stage: str, reason: str, detail: str, modality: str | None = None) -> str | None:
    """The full key of the value that decided, None where no setting did: a damaged file is no matter of taste.

    `modality` is that of the item that was dropped, None where it is no item.
    """
    if reason not in QUOTING and (named := _NAMED.search(detail)):
        return named[0]
    if stage == "align" and modality and detail in RULES:
        return f"align.modalities.{modality}.{RULES[detail]}"
    if stage == "clean" and modality and (modality, reason) in CLEAN_SETTINGS:
        return f"clean.{modality}.{CLEAN_SETTINGS[modality, reason]}"
    if (stage, reason) == ("align", Reason.MISSING_PARTNER):
        missing = [name for name in MODALITIES if re.search(rf"\bno {name}\b", detail)]
        return ", ".join(f"align.modalities.{name}.required" for name in missing) or None
    return SETTINGS.get((stage, reason))
