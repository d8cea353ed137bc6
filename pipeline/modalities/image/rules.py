"""List the rules of `clean.image`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from pipeline.modalities.image.quality import measure_extreme, measure_sharpness
from pipeline.modalities.rules import CleaningRule, NearDuplicates, add_rules
from pipeline.modalities.strip_file import Damaged
from pipeline.tables.drops import Reason


@dataclass(frozen=True, slots=True, eq=False)
class ImageFacts:
    """What rules compare: pixels as stored, and once decoded the contrast.

    `contrast` is the standard deviation of the grey levels (0 to 255) or of the opacity, whichever is larger; `levels`
    are the grey levels over white, uint8 (height, width).
    """

    width: int
    height: int
    contrast: float | None = None
    levels: NDArray[np.uint8] | None = None

    @property
    def aspect(self) -> float:
        """The longer side by the shorter."""
        return max(self.width, self.height) / min(self.width, self.height)


MIN_SHARPNESS: CleaningRule[ImageFacts] = CleaningRule(
    setting="min_sharpness",
    type=Annotated[float, Limits(ge=0)],
    default=0.0,
    meaning="Variance of the Laplacian of the grey levels, of the image shrunk to 512 pixels at most; 0 "
    "drops nothing. Photographs that are in focus have more than 100. Large JPEG files take long with it.",
    source="off: what is sharp enough depends on the kind of images",
    bound="min",
    measure=lambda facts: None if facts.levels is None else measure_sharpness(facts.levels),
    details={"decoded": "variance of the Laplacian: the image is blurred"},
    reason=Reason.BLURRED,
    format=".3g",
    off=0.0,
)

RULES: tuple[CleaningRule[ImageFacts], ...] = (
    CleaningRule(
        setting="max_pixels",
        type=Annotated[int, Limits(ge=1)],
        default=50_000_000,
        meaning="Width times height, read in the header before anything is decoded.",
        source="chosen by hand: 150 MB as RGB, a fraction of run.memory",
        bound="max",
        measure=lambda facts: facts.width * facts.height,
        details={"header": "pixels, by the header"},
        reason=Reason.TOO_MANY_PIXELS,
    ),
    CleaningRule(
        setting="min_side",
        type=Annotated[int, Limits(ge=1)],
        default=16,
        meaning="Pixels of the shorter side.",
        source="a pixel for each cell of the perceptual hash",
        bound="min",
        measure=lambda facts: min(facts.width, facts.height),
        details={"header": "pixels of the shorter side, by the header"},
        reason=Reason.TOO_SMALL,
    ),
    CleaningRule(
        setting="max_aspect",
        type=Annotated[float, Limits(ge=1)],
        default=20.0,
        meaning="The longer side by the shorter.",
        source="chosen by hand: beyond it are rules and borders of pages; filters of image-text sets take 2 or 3",
        bound="max",
        measure=lambda facts: facts.aspect,
        details={"header": "the longer side by the shorter, by the header"},
        reason=Reason.BAD_ASPECT,
        format=".3g",
    ),
    CleaningRule(
        setting="min_contrast",
        type=Annotated[float, Limits(ge=0)],
        default=2.0,
        meaning="Standard deviation of the grey levels (0 to 255), or of the opacity, below which an image is empty.",
        source="chosen by hand: a gradient of 7 levels from one edge to the other has 2",
        bound="min",
        measure=lambda facts: facts.contrast,
        details={"decoded": "contrast in grey levels: the image is of one colour"},
        reason=Reason.FLAT,
        format=".3g",
    ),
    CleaningRule(
        setting="max_extreme",
        type=Annotated[float, Limits(ge=0, le=1)],
        default=1.0,
        meaning="Share of pixels that are nearly black or nearly white, at most 5 or at least 250 of 255 levels; 1 "
        "drops nothing. Photographs that are exposed wrongly have more than 0.5, drawings on white as well.",
        source="off: drawings on white are not worse for it",
        bound="max",
        measure=lambda facts: None if facts.levels is None else measure_extreme(facts.levels),
        details={"decoded": "share of pixels that are nearly black or white"},
        reason=Reason.BAD_EXPOSURE,
        format=".3f",
        off=1.0,
    ),
    MIN_SHARPNESS,
)
"""In the order in which they are checked, which is that of the keys."""


@add_rules(RULES)
class ImageCheck(NearDuplicates):
    """Limits that images are held to, and when two of them are near-duplicates."""

    damaged: Damaged = "drop"
    """JPEG files with lost pixels, which decoders read all the same: cut off, or with bytes that are missing,
    overwritten or in the wrong place. `keep` keeps them, with what is wrong in the column `flaw`."""


def needs_all_pixels(params: ImageCheck) -> bool:
    """Return whether a rule has to see the image at its full size: one of detail, or one of the user's own."""
    return bool(params.rules) or MIN_SHARPNESS.read_limit(params) != MIN_SHARPNESS.off
