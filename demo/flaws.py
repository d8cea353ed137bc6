"""List the flaws of real data that are planted in the demo, how often, and what a correct pipeline does about each."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from pipeline.tables.drops import Reason

Part = Literal["page", "picture", "sound", "caption"]


class Flaw(StrEnum):
    """A flaw of a thing: each has one row in `PLANTINGS` and one in `EXPECTED`."""

    TRUNCATED_JPEG = "truncated_jpeg"
    TRUNCATED_PNG = "truncated_png"
    HTML_AS_JPEG = "html_as_jpeg"
    TINY_PICTURE = "tiny_picture"
    FLAT_PICTURE = "flat_picture"
    NOAI_PICTURE = "noai_picture"
    SLOW_PICTURE = "slow_picture"
    FAILING_PICTURE = "failing_picture"
    NO_PICTURE = "no_picture"
    TRUNCATED_WAV = "truncated_wav"
    TRUNCATED_OGG = "truncated_ogg"
    TEXT_AS_WAV = "text_as_wav"
    SILENT_SOUND = "silent_sound"
    BROKEN_SOUND_LINK = "broken_sound_link"
    NO_SOUND = "no_sound"
    EMPTY_CAPTION = "empty_caption"
    FORBIDDEN_PAGE = "forbidden_page"

    EXACT_DUPLICATE = "exact_duplicate"
    NEAR_DUPLICATE = "near_duplicate"

    PNG_NAMED_JPEG = "png_named_jpeg"
    MOVED_PICTURE = "moved_picture"
    FLAKY_PICTURE = "flaky_picture"
    EXIF_GPS = "exif_gps"
    JPEG_COMMENT = "jpeg_comment"
    PNG_TEXT = "png_text"
    ORIENTATION_1 = "orientation_1"
    ORIENTATION_2 = "orientation_2"
    ORIENTATION_3 = "orientation_3"
    ORIENTATION_4 = "orientation_4"
    ORIENTATION_5 = "orientation_5"
    ORIENTATION_6 = "orientation_6"
    ORIENTATION_7 = "orientation_7"
    ORIENTATION_8 = "orientation_8"
    OGG_COMMENT = "ogg_comment"
    EMAIL_IN_CAPTION = "email_in_caption"
    PHONE_IN_CAPTION = "phone_in_caption"


ORIENTATIONS: dict[Flaw, int] = {Flaw(f"orientation_{tag}"): tag for tag in range(1, 9)}
"""The value of the EXIF tag 0x0112 of a picture with this flaw."""

Fate = Literal["dropped", "grouped", "turned", "stripped", "redacted", "kept"]
"""What happens to the part: `turned` is upright after its orientation is applied, `grouped` shares a split."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What a correct pipeline does with `part` of a flawed thing, at which stage, and why if it drops it.

    A thing that lost a part is not a sample if all three modalities are required: align drops its other parts with
    `missing_partner`. Of a duplicate and its original, either may be kept.
    """

    part: Part
    stage: str
    fate: Fate
    reason: Reason | None = None

    @property
    def loses_thing(self) -> bool:
        """Whether the thing becomes no sample."""
        return self.fate == "dropped"


EXPECTED: dict[Flaw, Expectation] = {
    Flaw.TRUNCATED_JPEG: Expectation("picture", "clean", "dropped", Reason.TRUNCATED),
    Flaw.TRUNCATED_PNG: Expectation("picture", "clean", "dropped", Reason.TRUNCATED),
    Flaw.HTML_AS_JPEG: Expectation("picture", "ingest", "dropped", Reason.TYPE_MISMATCH),
    Flaw.TINY_PICTURE: Expectation("picture", "clean", "dropped", Reason.TOO_SMALL),
    Flaw.FLAT_PICTURE: Expectation("picture", "clean", "dropped", Reason.FLAT),
    Flaw.NOAI_PICTURE: Expectation("picture", "crawl", "dropped", Reason.OPTED_OUT),
    Flaw.SLOW_PICTURE: Expectation("picture", "crawl", "dropped", Reason.TIMEOUT),
    Flaw.FAILING_PICTURE: Expectation("picture", "crawl", "dropped", Reason.HTTP_ERROR),
    Flaw.NO_PICTURE: Expectation("picture", "align", "dropped", Reason.MISSING_PARTNER),
    Flaw.TRUNCATED_WAV: Expectation("sound", "clean", "dropped", Reason.TRUNCATED),
    Flaw.TRUNCATED_OGG: Expectation("sound", "clean", "dropped", Reason.TRUNCATED),
    Flaw.TEXT_AS_WAV: Expectation("sound", "ingest", "dropped", Reason.TYPE_MISMATCH),
    Flaw.SILENT_SOUND: Expectation("sound", "clean", "dropped", Reason.SILENT),
    Flaw.BROKEN_SOUND_LINK: Expectation("sound", "crawl", "dropped", Reason.HTTP_ERROR),
    Flaw.NO_SOUND: Expectation("sound", "align", "dropped", Reason.MISSING_PARTNER),
    Flaw.EMPTY_CAPTION: Expectation("caption", "ingest", "dropped", Reason.EMPTY),
    Flaw.FORBIDDEN_PAGE: Expectation("page", "crawl", "dropped", Reason.ROBOTS_FORBID),
    Flaw.EXACT_DUPLICATE: Expectation("page", "align", "dropped", Reason.DUPLICATE),
    Flaw.NEAR_DUPLICATE: Expectation("page", "align", "grouped"),
    Flaw.PNG_NAMED_JPEG: Expectation("picture", "ingest", "kept"),
    Flaw.MOVED_PICTURE: Expectation("picture", "crawl", "kept"),
    Flaw.FLAKY_PICTURE: Expectation("picture", "crawl", "kept"),
    Flaw.EXIF_GPS: Expectation("picture", "clean", "stripped"),
    Flaw.JPEG_COMMENT: Expectation("picture", "clean", "stripped"),
    Flaw.PNG_TEXT: Expectation("picture", "clean", "stripped"),
    **{flaw: Expectation("picture", "clean", "turned") for flaw in ORIENTATIONS},
    Flaw.OGG_COMMENT: Expectation("sound", "clean", "stripped"),
    Flaw.EMAIL_IN_CAPTION: Expectation("caption", "clean", "redacted"),
    Flaw.PHONE_IN_CAPTION: Expectation("caption", "clean", "redacted"),
}

ONCE = 0
"""Planted on one thing, whatever the size: each slow or failing URL costs the crawl its timeout or its retries."""

PLANTINGS: dict[Flaw, int] = {
    **{flaw: 150 for flaw, expected in EXPECTED.items() if expected.loses_thing},
    Flaw.SLOW_PICTURE: ONCE,
    Flaw.FAILING_PICTURE: ONCE,
    Flaw.EXACT_DUPLICATE: 60,
    Flaw.NEAR_DUPLICATE: 40,
    Flaw.PNG_NAMED_JPEG: 150,
    Flaw.MOVED_PICTURE: 150,
    Flaw.FLAKY_PICTURE: 300,
    Flaw.EXIF_GPS: 50,
    Flaw.JPEG_COMMENT: 75,
    Flaw.PNG_TEXT: 75,
    **dict.fromkeys(ORIENTATIONS, 100),
    Flaw.OGG_COMMENT: 75,
    Flaw.EMAIL_IN_CAPTION: 40,
    Flaw.PHONE_IN_CAPTION: 40,
}
"""One thing in this many has the flaw, but at least one. Flaws that cost a part affect some 10 % of the things."""


def count_planted(flaw: Flaw, things: int) -> int:
    """Return how many of `things` things get the flaw."""
    one_in = PLANTINGS[flaw]
    return 1 if one_in == ONCE else max(1, things // one_in)
