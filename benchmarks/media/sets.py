"""Make the files that all readers read: ordinary WebDataset tars, the same bytes on every machine.

`python -m benchmarks.media.sets MEDIUM FOLDER COUNT` writes them.
"""

import argparse
import io
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.apart import write_outcome

SIDE = 224
"""Pixels of a side of what training gets."""
SHARDS = 8
"""Tars of a set: readers that divide the shards among workers need some for each."""
QUALITY = 90
AUDIO_RATE, VIDEO_SIDES, VIDEO_RATE, VIDEO_SECONDS = 44_100, (360, 640), 30, 30
KEY_FRAMES = 60
"""Frames from one key frame to the next: 2 s, as video sites encode."""
SCENES = 6
WORDS, MEDIAN_WORDS, SIGMA, MOST_WORDS = 4000, 120, 0.8, 1000


@dataclass(frozen=True)
class FileSet:
    """A medium's files.

    Attributes:
        suffix: of the files in the tars.
        encode: makes the file of a number.
        count: how many are measured by default: an epoch of a reader takes some seconds.
        batch: samples a batch.
        what: the files, for the page.
        work: what is made of them, for the page.
    """

    suffix: str
    encode: Callable[[int], bytes]
    count: int
    batch: int
    what: str
    work: str


def encode_image(number: int) -> bytes:
    """A picture with detail of several sizes, of a size of its own, as a JPEG file."""
    import cv2

    rng = np.random.default_rng(number)
    height, width = int(rng.integers(333, 420)), int(rng.integers(450, 550))
    pixels = np.full((height, width, 3), 128, np.float32)
    for cell in (4, 16, 64):
        coarse = rng.normal(0, 26, (height // cell + 2, width // cell + 2, 3)).astype(np.float32)
        pixels += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    noisy = np.clip(pixels + rng.normal(0, 4, pixels.shape), 0, 255).astype(np.uint8)
    return bytes(cv2.imencode(".jpg", noisy, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def encode_small_image(number: int) -> bytes:
    """The same pictures, already at the size that training uses."""
    import cv2

    pixels: Any = cv2.imdecode(np.frombuffer(encode_image(number), np.uint8), cv2.IMREAD_COLOR)
    resized = cv2.resize(pixels, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes())


def encode_audio(number: int) -> bytes:
    """Gliding tones with noise 30 dB below, mono, 4 to 16 s: a FLAC file of half of the bytes of its samples."""
    import soundfile

    rng = np.random.default_rng(number)
    at = np.arange(int(AUDIO_RATE * rng.uniform(4, 16))) / AUDIO_RATE
    tones = sum(np.sin(2 * np.pi * (pitch * at + 20 * np.sin(at))) for pitch in rng.uniform(100, 2000, 5)) / 10
    file = io.BytesIO()
    soundfile.write(file, tones + rng.normal(0, 0.01, len(at)), AUDIO_RATE, format="FLAC")
    return file.getvalue()


def encode_video(number: int) -> bytes:
    """A scene that moves: H.264 in MP4, 640 × 360, half a minute. Encoding takes 4 s, so a few scenes repeat."""
    return encode_scene(number % SCENES)


@cache
def encode_scene(number: int) -> bytes:
    import av
    import cv2

    (height, width), rng = VIDEO_SIDES, np.random.default_rng(number)
    scene = cv2.resize(rng.integers(0, 256, (40, 80, 3), np.uint8), (1280, 640))
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        options = {"g": str(KEY_FRAMES), "preset": "veryfast", "threads": "1"}
        stream: Any = out.add_stream("libx264", rate=VIDEO_RATE, options=options)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for shown in range(VIDEO_RATE * VIDEO_SECONDS):
            top, left = (round(140 * (1 + np.sin(shown / period))) for period in (41, 67))
            frame = av.VideoFrame.from_ndarray(scene[top : top + height, left : left + width].copy(), "rgb24")
            frame.pts, frame.time_base = shown, Fraction(1, VIDEO_RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode())
    return file.getvalue()


def encode_text(number: int) -> bytes:
    """Words of a made language, as often as in real ones (Zipf), log-normal in number."""
    rng = np.random.default_rng(number)
    words = min(MOST_WORDS, max(1, int(rng.lognormal(np.log(MEDIAN_WORDS), SIGMA))))
    return " ".join(spell(int(rank) % WORDS) for rank in rng.zipf(1.3, words)).encode()


def spell(rank: int) -> str:
    """The word of a rank: frequent ones are short."""
    consonants, vowels = "bdfghklmnprstvz", "aeiou"
    word, rest = "", rank + 1
    while rest:
        rest, syllable = divmod(rest, len(consonants) * len(vowels))
        word += consonants[syllable % len(consonants)] + vowels[syllable // len(consonants)]
    return word


SETS: Mapping[str, FileSet] = {
    "images": FileSet(
        "jpg",
        encode_image,
        2048,
        64,
        "JPEG files of some 500 × 375 pixels, 60 to 110 kB",
        f"a random resized crop of {SIDE} × {SIDE}, uint8",
    ),
    "stored": FileSet(
        "jpg",
        encode_small_image,
        2048,
        64,
        f"JPEG files of {SIDE} × {SIDE} pixels",
        "pixels, uint8, without a crop",
    ),
    "audio": FileSet(
        "flac",
        encode_audio,
        256,
        16,
        "FLAC files of 4 to 16 s, 44.1 kHz, mono",
        "80 mel bands of a random part of 2 s at 16 kHz",
    ),
    "video": FileSet(
        "mp4",
        encode_video,
        24,
        4,
        f"MP4 files of H.264, 640 × 360, 30 s, a key frame every {KEY_FRAMES} frames",
        f"8 frames of a random part of 2 s, {SIDE} × {SIDE}, uint8",
    ),
    "text": FileSet(
        "txt",
        encode_text,
        4096,
        64,
        f"texts of {MEDIAN_WORDS} words in the median, log-normal",
        "the ids of a BPE of 4,000 entries, at most 512 a text, padded to the longest of the batch",
    ),
}
"""By medium."""


def write_set(medium: str, folder: Path, count: int) -> None:
    """Write the tars of a medium, with a label beside each file."""
    files = SETS[medium]
    folder.mkdir(parents=True)
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard:06d}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
            for number in range(shard * count // SHARDS, (shard + 1) * count // SHARDS):
                for suffix, content in ((files.suffix, files.encode(number)), ("cls", b"%d" % (number % 10))):
                    info = tarfile.TarInfo(f"{number:08d}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, io.BytesIO(content))
    if medium == "text":
        train_tokenizer(folder / "tokenizer.json")


def train_tokenizer(path: Path) -> None:
    """Train a byte-level BPE on texts of the kind that is measured."""
    from tokenizers import ByteLevelBPETokenizer

    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator((encode_text(number).decode() for number in range(500)), 4000)
    tokenizer.save(str(path))


def list_tars(folder: Path) -> list[str]:
    """The tars of a set, in order."""
    return sorted(map(str, folder.glob("*.tar")))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("medium", choices=SETS)
    parser.add_argument("folder", type=Path)
    parser.add_argument("count", type=int)
    options = parser.parse_args()
    write_set(options.medium, options.folder, options.count)
    write_outcome({"count": options.count})


if __name__ == "__main__":
    main()
