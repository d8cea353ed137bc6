"""Draw any number of samples that are as alike as real ones, from the stamps: parts of two images, blended or one
pasted into the other; parts of two narrations, one after the other or at once; words of the captions, shuffled."""

import os
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.copies import CHECKOUT
from benchmarks.support.extract_corpora import AUDIO, list_stamps

Image = NDArray[np.uint8]
Clip = NDArray[np.float32]

LARGEST = 256
"""Pixels: larger images are made smaller once, or most of the time would go there."""


@dataclass(frozen=True)
class Stamps:
    """What samples are drawn from: images (height, width, 3), clips (frames,) of one rate, the words of all captions
    as often as they occur."""

    images: tuple[Image, ...]
    clips: tuple[Clip, ...]
    words: tuple[str, ...]

    def draw_image(self, draw: np.random.Generator, side: int) -> Image:
        """Draw an image (side, side, 3)."""
        one, other = self._crop(draw, side), self._crop(draw, side)
        if draw.random() < 0.5:
            share = draw.uniform(0, 1)
            blended: Image = np.rint(one * (1 - share) + other * share).astype(np.uint8)
            return blended
        (top, bottom), (left, right) = np.sort(draw.integers(side + 1, size=(2, 2)), axis=1)
        one[top:bottom, left:right] = other[top:bottom, left:right]
        return one

    def _crop(self, draw: np.random.Generator, side: int) -> Image:
        import cv2

        image = self.images[draw.integers(len(self.images))]
        height, width = (max(1, int(length * draw.uniform(0.4, 1))) for length in image.shape[:2])
        top, left = draw.integers(image.shape[0] - height + 1), draw.integers(image.shape[1] - width + 1)
        crop = image[top : top + height, left : left + width]
        return np.asarray(cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA), np.uint8)

    def draw_clip(self, draw: np.random.Generator, frames: int) -> Clip:
        """Draw a clip (frames,)."""
        one, other = self._cut(draw, frames), self._cut(draw, frames)
        place = draw.integers(frames)
        mixed: Clip = one.copy()
        if draw.random() < 0.5:
            mixed[place:] = other[place:]
        else:
            mixed[place:] += draw.uniform(0.1, 1) * other[: frames - place]
        return np.clip(mixed, -1, 1)

    def _cut(self, draw: np.random.Generator, frames: int) -> Clip:
        audio = self.clips[draw.integers(len(self.clips))]
        start = draw.integers(max(1, len(audio) - frames + 1))
        return np.resize(audio[start:], frames)

    def draw_caption(self, draw: np.random.Generator) -> str:
        """Draw 4 to 14 words."""
        chosen = draw.integers(len(self.words), size=draw.integers(4, 15))
        return " ".join(self.words[number] for number in chosen)


def find_stamps() -> Path | None:
    """Return the folder of the stamps, None where they are missing."""
    folder = Path(os.environ.get("SHARDWRIGHT_STAMPS", CHECKOUT / "../shared/data/stamps"))
    return folder if folder.is_dir() else None


@cache
def read_stamps(folder: Path, rate: int) -> Stamps:
    """Read all stamps that have an image, a narration and a caption; clips at `rate` Hz, mono."""
    import soundfile
    import soxr

    images, clips, words = [], [], []
    for path in list_stamps(folder):
        images.append(_read_image(path))
        samples, own = soundfile.read(path.with_name(path.stem + AUDIO), dtype="float32", always_2d=True)
        clips.append(np.asarray(soxr.resample(samples.mean(axis=1), own, rate), np.float32))
        words += path.with_suffix(".txt").read_text(encoding="utf-8").partition("\n")[0].split()
    return Stamps(tuple(images), tuple(clips), tuple(words))


def _read_image(path: Path) -> Image:
    import cv2

    pixels: Any = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    pixels = pixels if pixels.ndim == 3 else np.repeat(pixels[:, :, None], 3, axis=2)
    if pixels.shape[2] == 4:
        cover = pixels[:, :, 3:] / 255
        pixels = np.rint(pixels[:, :, :3] * cover + 255 * (1 - cover)).astype(np.uint8)
    scale = LARGEST / max(pixels.shape[:2])
    if scale < 1:
        pixels = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return np.asarray(pixels, np.uint8)
