"""Collect the samples that the model got most wrong, as the page shows them: image, caption, prediction, truth."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.models.inputs import find_content, list_parts
from pipeline.tasks.report import Mistake
from shardwright import ShardDataset
from shardwright.format.index import decode_key

SIDE = 160  # pixels; images whose longer side is longer are shrunk to this
MAX_CAPTION = 240

DIRECTIONS = {chr(code) for code in (*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C)}
"""Characters that change the direction of the text after them: a caption could rewrite the page around it."""


@dataclass(frozen=True)
class Card:
    """One sample: its key, image (PNG, None where it has none), caption, and the mistake."""

    key: str
    image: bytes | None
    caption: str
    mistake: Mistake


def collect_cards(data: ShardDataset, mistakes: Sequence[Mistake]) -> list[Card]:
    """Return a card for each mistake."""
    return [
        Card(
            key=decode_key(data.keys[mistake.row]),
            image=read_image(data, mistake.row),
            caption=clean_text(str(data.meta(mistake.row).get("caption", ""))),
            mistake=mistake,
        )
        for mistake in mistakes
    ]


def read_image(data: ShardDataset, row: int) -> bytes | None:
    """Return the first image of the sample as a small PNG, or None where it has none."""
    sample = data[row]
    for part, modality in list_parts(data.manifest).items():
        if modality == "image" and sample.get(f"{part}_present", True):
            pixels = sample[find_content(data.manifest, part)]
            return encode_png(pixels[0] if f"{part}_count" in sample else pixels)
    return None


def encode_png(pixels: Any) -> bytes:
    """Encode (height, width, 3) RGB, uint8 or floats of 0 to 1, as a PNG of `SIDE` pixels at most."""
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
    """Return the text without control characters and direction marks."""
    return "".join(c for c in text if c not in DIRECTIONS and (c in "\n\t" or unicodedata.category(c) != "Cc"))


def clean_text(text: str) -> str:
    """Return the text without control characters and direction marks, cut at `MAX_CAPTION` characters."""
    cleaned = strip_controls(text)
    return cleaned if len(cleaned) <= MAX_CAPTION else cleaned[: MAX_CAPTION - 1] + "…"
