"""Folders of samples to extract features from: the stamps many times with different bytes, and generated speech.

Copies of a stamp decode to the same pixels and samples, at the same price, but no two files are the same, with or
without their metadata: nothing that was computed for one serves another.
"""

import itertools
import struct
import zlib
from collections.abc import Iterator
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from demo.media import set_ogg_serial
from pipeline.formats.image.png import SIGNATURE

RATE = 16_000
SECONDS = 3
WIDTH, HEIGHT = 640, 480
KINDS = 20
WORDS = 3_000

AUDIO = "_desc_es.ogg"
"""The end of a narration's name: the language that most stamps have one in."""


def list_stamps(tree: Path) -> list[Path]:
    """Images that have a caption and a narration."""
    return [
        image
        for image in sorted(tree.glob("**/*.png"))
        if image.with_suffix(".txt").exists() and image.with_name(image.stem + AUDIO).exists()
    ]


def copy_stamps(tree: Path, folder: Path, copies: int) -> int:
    """Write so many different copies of each stamp below `folder`; gives how many samples that makes."""
    stamps = list_stamps(tree)
    for image, number in itertools.product(stamps, range(copies)):
        place = folder / image.relative_to(tree).parent
        place.mkdir(parents=True, exist_ok=True)
        stem = f"{image.stem}-{number}"
        (place / f"{stem}.png").write_bytes(change_png(image.read_bytes(), number))
        audio = image.with_name(image.stem + AUDIO).read_bytes()
        (place / f"{stem}{AUDIO}").write_bytes(set_ogg_serial(audio, zlib.crc32(stem.encode())))
        first, *others = image.with_suffix(".txt").read_text(encoding="utf-8").split("\n")
        caption = "\n".join([f"{first.rstrip()} Copy {number}.", *others])
        (place / f"{stem}.txt").write_text(caption, encoding="utf-8")
    return len(stamps) * copies


def change_png(data: bytes, number: int) -> bytes:
    """The same pixels in a file with a text chunk of its own, and its pixel data cut into chunks at a place of its own.

    The text would go when metadata is stripped; the cut stays.
    """
    parts, cut = [SIGNATURE], False
    for name, body in walk_png(data):
        if name == b"IDAT" and not cut:
            cut = True
            parts += [make_chunk(b"tEXt", b"Comment\0copy %d" % number), make_chunk(name, body[: number + 1])]
            body = body[number + 1 :]
        parts.append(make_chunk(name, body))
    return b"".join(parts)


def walk_png(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of each chunk."""
    at = len(SIGNATURE)
    while at < len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def make_chunk(name: bytes, body: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def make_speech(folder: Path, samples: int) -> int:
    """Write samples of an image, three seconds of something like speech, and a caption; gives their number."""
    with Pool(2) as pool:
        pool.starmap(write_speech, ((folder, number) for number in range(samples)), chunksize=64)
    return samples


def write_speech(folder: Path, number: int) -> None:
    """Write the files of one sample: `<kind>/<number>.jpg`, `.wav` and `.txt`, the same on every machine."""
    import cv2
    import soundfile

    draw = np.random.default_rng(number)
    place = folder / f"kind-{number % KINDS:02d}"
    place.mkdir(parents=True, exist_ok=True)
    stem = f"{number:06d}"
    cv2.imwrite(str(place / f"{stem}.jpg"), draw_image(draw), [cv2.IMWRITE_JPEG_QUALITY, 90])
    soundfile.write(place / f"{stem}.wav", draw_voice(draw, SECONDS), RATE, subtype="PCM_16")
    words = (draw.zipf(1.3, int(draw.integers(8, 20))) - 1) % WORDS
    (place / f"{stem}.txt").write_text(f"Number {number}: " + " ".join(f"word{word}" for word in words) + ".\n")


def draw_image(draw: np.random.Generator) -> NDArray[np.uint8]:
    """Soft shapes of several sizes with some grain, (HEIGHT, WIDTH, 3): a JPEG of some 80 kB."""
    import cv2

    image = draw.normal(0, 5, (HEIGHT, WIDTH, 1)).astype(np.float32)
    for cells, weight in ((4, 0.5), (16, 0.3), (64, 0.2)):
        coarse = draw.uniform(0, 255 * weight, (cells, cells, 3)).astype(np.float32)
        image = image + cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    levels: NDArray[np.uint8] = np.clip(image, 0, 255).astype(np.uint8)
    return levels


def draw_voice(draw: np.random.Generator, seconds: float) -> NDArray[np.float32]:
    """A hum whose pitch and loudness wander as in speech, with breath: float32 (seconds × RATE,)."""
    time = np.arange(int(seconds * RATE)) / RATE
    pitch = 120 + 60 * np.sin(2 * np.pi * draw.uniform(0.5, 3) * time + draw.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    voice = sum(np.sin(harmonic * phase) * draw.uniform(0.2, 1) / harmonic for harmonic in range(1, 8))
    loudness = np.clip(np.sin(2 * np.pi * draw.uniform(2, 5) * time) + 0.3, 0, 1)
    audio: NDArray[np.float32] = (0.2 * loudness * voice + draw.normal(0, 0.01, len(time))).astype(np.float32)
    return audio
