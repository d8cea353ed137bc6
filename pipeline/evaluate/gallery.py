"""The samples that the model got most wrong, as they are shown: picture, caption, what it is, what it was taken for."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.evaluate.predict import Predictions
from shardwright import ShardDataset

SIDE = 160  # pixels; the longer side of a picture that is larger is brought down to this
MAX_CAPTION = 240

DIRECTIONS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}
"""Characters that turn the direction of what follows them: with these a caption could rewrite the page around it."""


@dataclass(frozen=True)
class Card:
    """One sample. `picture` is a PNG, None where the sample has no picture; the probabilities are of the model with all
    modalities."""

    key: str
    picture: bytes | None
    caption: str
    truth: str
    predicted: str
    probability: float
    truth_probability: float


def collect_cards(data: ShardDataset, predictions: Predictions, classes: Sequence[str], worst: int) -> list[Card]:
    """Cards of the `worst` samples at most that were told wrong, the least likely truth first."""
    return [
        Card(
            key=predictions.keys[row],
            picture=read_picture(data, row),
            caption=clean_text(str(data.meta(row).get("caption", ""))),
            truth=classes[predictions.truth[row]],
            predicted=classes[predictions.predicted[row]],
            probability=float(predictions.probability[row]),
            truth_probability=float(predictions.truth_probability[row]),
        )
        for row in predictions.find_worst(worst)
    ]


def read_picture(data: ShardDataset, row: int) -> bytes | None:
    """The sample's picture as a small PNG, or None where it has none."""
    names = (data.manifest.extract or {}).get("modalities", {}).get("image")
    if not names:
        return None
    sample = data[row]
    if not sample.get("image_present", True):
        return None
    return encode_png(sample[names[0]])


def encode_png(pixels: Any) -> bytes:
    """A PNG of (height, width, 3) RGB, `SIDE` pixels at most; uint8, or floats of 0 to 1."""
    import cv2
    import numpy as np

    if pixels.dtype != np.uint8:
        pixels = np.rint(pixels.astype(np.float32) * 255).astype(np.uint8)
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    if scale < 1:
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".png", pixels[:, :, ::-1])
    return bytes(data.tobytes())


def strip_controls(text: str) -> str:
    """The text without control characters and direction marks."""
    return "".join(c for c in text if c not in DIRECTIONS and (c in "\n\t" or unicodedata.category(c) != "Cc"))


def clean_text(text: str) -> str:
    """The text without control characters and direction marks, and not too long to look at."""
    cleaned = strip_controls(text)
    return cleaned if len(cleaned) <= MAX_CAPTION else cleaned[: MAX_CAPTION - 1] + "…"
