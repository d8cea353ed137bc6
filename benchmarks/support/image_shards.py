"""Shards of images that a classifier can be trained on: of arrays, or of JPEG files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from shardwright import Field, ShardWriter, Statistics, read_manifest, write_manifest
from shardwright.format.jpeg import encode_jpeg

CLASSES = tuple(f"class {number}" for number in range(10))
COARSE = 14
"""Pixels of the noise that images are enlarged from, so that a JPEG file has the size of a photo's: some 11 kB of 224 ×
224 pixels."""

QUALITY = 90
SAMPLES_PER_SHARD = 256


def draw_image(side: int, number: int) -> NDArray[np.uint8]:
    """Return an image, uint8 (side, side, 3), whose class, the number modulo 10, makes it lighter."""
    coarse = np.random.default_rng(number).integers(0, 160, (COARSE, COARSE, 3)).astype(np.uint8)
    smooth = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth + np.uint8(8 * (number % len(CLASSES))), np.uint8)


FORMS: dict[str, Callable[[NDArray[np.uint8]], Any]] = {
    "npy": lambda pixels: pixels,
    "jpeg": lambda pixels: encode_jpeg(pixels, QUALITY),
}
"""What is written of an image, by the encoding of the field."""


def write_images(root: Path, encoding: str, side: int, samples: int) -> Path:
    """Write a dataset of images with labels, all to train on, and return its folder."""
    fields = {"image": Field("uint8", (side, side, 3), axes="HWC", encoding=encoding), "label": Field("int64", ())}
    with ShardWriter(root, "train", fields, SAMPLES_PER_SHARD, classes=CLASSES) as writer:
        for number in range(samples):
            value = FORMS[encoding](draw_image(side, number))
            writer.write(f"{number:09d}", {"image": value, "label": number % len(CLASSES)})
    manifest = replace(
        read_manifest(root),
        statistics={"image": Statistics((116.0,) * 3, (52.0,) * 3, samples * side**2)},
        extract=json.loads('{"modalities": {"image": ["image"]}}'),
    )
    write_manifest(root, manifest)
    return root
