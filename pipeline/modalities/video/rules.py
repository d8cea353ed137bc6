"""List the rules of `clean.video`: all limits are compared with the header, before anything is decoded."""

from typing import Annotated

from pydantic import Field as Limits

from pipeline.formats.video.header import VideoHeader
from pipeline.modalities.rules import CleaningRule, NearDuplicates, add_rules
from pipeline.tables.drops import Reason

RULES: tuple[CleaningRule[VideoHeader], ...] = (
    CleaningRule(
        setting="max_pixels",
        type=Annotated[int, Limits(ge=1)],
        default=9_000_000,
        meaning="Width times height of a frame.",
        source="4K UHD has 3840 × 2160, 8.3 million",
        bound="max",
        measure=lambda header: header.width * header.height,
        details={"header": "pixels of a frame, by the header"},
        reason=Reason.TOO_MANY_PIXELS,
    ),
    CleaningRule(
        setting="min_side",
        type=Annotated[int, Limits(ge=1)],
        default=16,
        meaning="Pixels of the shorter side of a frame.",
        source="the same as of images",
        bound="min",
        measure=lambda header: min(header.width, header.height),
        details={"header": "pixels of the shorter side, by the header"},
        reason=Reason.TOO_SMALL,
    ),
    CleaningRule(
        setting="max_seconds",
        type=Annotated[float, Limits(gt=0)],
        default=600.0,
        meaning="Seconds.",
        source="the same as of audio",
        bound="max",
        measure=lambda header: header.seconds,
        details={"header": "seconds, by the header"},
        reason=Reason.TOO_LONG,
        format=".2f",
    ),
    CleaningRule(
        setting="max_frames",
        type=Annotated[int, Limits(ge=1)],
        default=36_000,
        meaning="Frames.",
        source="10 minutes at 60 frames a second",
        bound="max",
        measure=lambda header: header.frames,
        details={"header": "frames, by the header"},
        reason=Reason.TOO_LONG,
    ),
)
"""In the order in which they are checked, which is that of the keys."""


@add_rules(RULES)
class VideoCheck(NearDuplicates):
    """Limits that videos are held to, and when two of them are near-duplicates: four frames share the thumbnail."""
