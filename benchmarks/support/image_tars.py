"""WebDataset tars of JPEG files of many sizes, and what readers make of them: a random resized crop, uint8."""

import io
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SIDE, BATCH = 224, 64
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
PER_SHARD = 500
QUALITY = 90


def write_images(folder: Path, count: int) -> None:
    """Write JPEG files of some 500 × 375 pixels and 60 to 110 kB, with labels."""
    folder.mkdir(parents=True)
    for first in range(0, count, PER_SHARD):
        with tarfile.open(folder / f"{first // PER_SHARD:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(first, min(first + PER_SHARD, count)):
                for suffix, content in (("jpg", encode_image(number)), ("cls", b"%d" % (number % 10))):
                    info = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))


def encode_image(number: int) -> bytes:
    """A picture with detail of several sizes, the same on every machine."""
    import cv2

    rng = np.random.default_rng(number)
    height, width = int(rng.integers(333, 420)), int(rng.integers(450, 550))
    pixels = np.full((height, width, 3), 128, np.float32)
    for cell in (4, 16, 64):
        coarse = rng.normal(0, 26, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        pixels += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def choose_box(height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
    """Top, left, height and width of a random resized crop, as training scripts draw it."""
    for _ in range(10):
        area = height * width * rng.uniform(*SCALE)
        ratio = math.exp(rng.uniform(math.log(RATIO[0]), math.log(RATIO[1])))
        rows, columns = round(math.sqrt(area / ratio)), round(math.sqrt(area * ratio))
        if 0 < rows <= height and 0 < columns <= width:
            return int(rng.integers(height - rows + 1)), int(rng.integers(width - columns + 1)), rows, columns
    side = min(height, width)
    return (height - side) // 2, (width - side) // 2, side, side


def decode_by_opencv(content: bytes) -> NDArray[np.uint8]:
    """The usual function: decode, crop, resize."""
    import cv2

    cv2.setNumThreads(1)
    pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    top, left, height, width = choose_box(pixels.shape[0], pixels.shape[1], np.random.default_rng())
    how = cv2.INTER_AREA if height > SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels[top : top + height, left : left + width], (SIDE, SIDE), interpolation=how))


def decode_by_pillow(content: bytes) -> NDArray[np.uint8]:
    """The same with Pillow, antialiased."""
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB")
    top, left, height, width = choose_box(image.height, image.width, np.random.default_rng())
    box = (left, top, left + width, top + height)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))
