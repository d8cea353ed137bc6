"""A folder of images, clips and captions, as many as wanted, the same on every machine.

Each sample is a JPEG of 224 × 224 pixels, one to two seconds of 16 kHz WAV and a caption of some ten words; its class
is its folder.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.support.extract_corpora import RATE, draw_voice

SIDE = 224
CLASSES = 20
WORDS = 3_000


def list_files(folder: Path, number: int) -> list[Path]:
    """The files of one sample: `<class>/<number>.jpg`, `.wav` and `.txt`."""
    stem = folder / f"class-{number % CLASSES:02d}" / f"{number:07d}"
    return [stem.with_suffix(end) for end in (".jpg", ".wav", ".txt")]


def write_sample(folder: Path, number: int) -> None:
    """Write the files of one sample."""
    import cv2
    import soundfile

    draw = np.random.default_rng(number)
    image, audio, text = list_files(folder, number)
    image.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(image), draw_image(draw), [cv2.IMWRITE_JPEG_QUALITY, 90])
    soundfile.write(audio, draw_voice(draw, draw.uniform(1.0, 2.0)), RATE, subtype="PCM_16")
    words = (draw.zipf(1.3, int(draw.integers(6, 16))) - 1) % WORDS
    text.write_text(f"Number {number}: " + " ".join(f"word{word}" for word in words) + ".\n")


def draw_image(draw: np.random.Generator) -> NDArray[np.uint8]:
    """Soft shapes with some grain: a JPEG of some 20 kB."""
    import cv2

    coarse = cv2.resize(draw.integers(0, 256, (12, 12, 3), np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    grain = draw.normal(0, 6, (SIDE, SIDE, 1))
    image: NDArray[np.uint8] = np.clip(coarse + grain, 0, 255).astype(np.uint8)
    return image
