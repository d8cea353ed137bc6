"""List the rules of `clean.image`."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

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
)
"""In the order in which they are checked, which is that of the keys."""


@add_rules(RULES)
class ImageCheck(NearDuplicates):
    """Limits that images are held to, and when two of them are near-duplicates."""

    damaged: Damaged = "drop"
    """JPEG files with lost pixels, which decoders read all the same: cut off, or with bytes that are missing,
    overwritten or in the wrong place. `keep` keeps them, with what is wrong in the column `flaw`."""
