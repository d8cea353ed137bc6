"""Which key of `params.yaml` decided that something was dropped."""

import re
from collections.abc import Mapping

from pipeline.contracts import MODALITIES
from pipeline.records import Reason

_NAMED = re.compile(r"\b(?:crawl|ingest|clean|align|extract|run)\.[a-z_]+(?:\.[a-z_]+)*")
"""A key in the text of a detail."""

SETTINGS: Mapping[tuple[str, Reason], str] = {
    ("ingest", Reason.PART_NOT_SELECTED): "ingest.text",
    ("align", Reason.AMBIGUOUS_LABEL): "align.label",
    ("align", Reason.AMBIGUOUS_SPLIT): "align.split",
    ("align", Reason.DUPLICATE): "align.duplicates.exact",
    ("align", Reason.MISSING_LABEL): "align.label",
    ("align", Reason.MISSING_SPLIT): "align.split",
    ("align", Reason.NEAR_DUPLICATE): "align.duplicates.near",
    ("align", Reason.NOT_SELECTED): "align.by",
}
"""By stage and reason, where the detail names no key."""

CLEAN_SETTINGS: Mapping[tuple[str, Reason], str] = {
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

SHOWN = {
    ("align", "another part of its file"): "align.modalities.{modality}.part",
    ("align", "the pattern of its modality"): "align.modalities.{modality}.pattern",
}
"""By stage and how the detail begins or what it has in it, where one reason has several rules."""


def find_setting(stage: str, reason: str, detail: str, modality: str | None = None) -> str | None:
    """The full key of the value that decided, None where no setting did: a damaged file is no matter of taste.

    `modality` is that of the item that was dropped, None where it is no item.
    """
    if named := _NAMED.search(detail):
        return named[0]
    for (where, words), setting in SHOWN.items():
        if stage == where and words in detail and modality:
            return setting.format(modality=modality)
    known = Reason(reason)
    if stage == "clean" and modality and (modality, known) in CLEAN_SETTINGS:
        return f"clean.{modality}.{CLEAN_SETTINGS[modality, known]}"
    if (stage, known) == ("align", Reason.MISSING_PARTNER):
        missing = [name for name in MODALITIES if re.search(rf"\bno {name}\b", detail)]
        return ", ".join(f"align.modalities.{name}.required" for name in missing) or None
    return SETTINGS.get((stage, known))
