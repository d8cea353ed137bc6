"""A rule of `clean.image.rules`: drop blurred images."""

import cv2

from pipeline.modalities.image.rules import ImageFacts
from pipeline.modalities.rules import CleaningRule
from pipeline.tables.drops import Reason


def measure_sharpness(facts: ImageFacts) -> float | None:
    """Return the variance of the Laplacian of the grey levels (Pech-Pacheco et al., 2000: Diatom autofocusing in
    brightfield microscopy); None before they are decoded."""
    return None if facts.levels is None else float(cv2.Laplacian(facts.levels, cv2.CV_64F).var())


SHARPNESS: CleaningRule[ImageFacts] = CleaningRule(
    setting="plugins/examples/cleaning_rule.py:SHARPNESS",
    type=float,
    default=100.0,
    meaning="Variance of the Laplacian below which an image is blurred.",
    source="chosen by hand",
    bound="min",
    measure=measure_sharpness,
    details={"decoded": "variance of the Laplacian: the image is blurred"},
    reason=Reason.OWN_RULE,
    format=".1f",
)
