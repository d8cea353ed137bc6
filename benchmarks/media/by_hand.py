"""Functions that a user writes for a reader that hands over the bytes of files: each decodes one sample."""

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.media.reading import Reading
from benchmarks.media.sets import AUDIO_RATE, SIDE, VIDEO_RATE, VIDEO_SECONDS

SPAN, RATE, FRAMES, LONGEST = 2.0, 16_000, 8, 512
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)


@dataclass(frozen=True)
class Work:
    """What is done with each file, and with those of a batch."""

    decode: Callable[[bytes], Any]
    collate: Callable[[Sequence[Any]], Any]


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


def crop_by_opencv(content: bytes) -> NDArray[np.uint8]:
    """Decode, crop, resize."""
    import cv2

    pixels = decode_by_opencv(content)
    top, left, height, width = choose_box(pixels.shape[0], pixels.shape[1], np.random.default_rng())
    how = cv2.INTER_AREA if height > SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels[top : top + height, left : left + width], (SIDE, SIDE), interpolation=how))


def decode_by_opencv(content: bytes) -> NDArray[np.uint8]:
    """The whole image."""
    import cv2

    cv2.setNumThreads(1)
    pixels: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB)
    return np.asarray(pixels)


def crop_by_pillow(content: bytes) -> NDArray[np.uint8]:
    """Decode, crop, resize, antialiased."""
    from PIL import Image

    image = Image.open(io.BytesIO(content)).convert("RGB")
    top, left, height, width = choose_box(image.height, image.width, np.random.default_rng())
    box = (left, top, left + width, top + height)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR, box=box))


def decode_by_pillow(content: bytes) -> NDArray[np.uint8]:
    """The whole image."""
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))


def hear_whole_by_librosa(content: bytes) -> NDArray[np.float32]:
    """Decode and resample a whole file, and take the features of a part."""
    import librosa

    samples, _ = librosa.load(io.BytesIO(content), sr=RATE)
    start = int(np.random.default_rng().integers(len(samples) - int(SPAN * RATE) + 1))
    return compute_mel(samples[start : start + int(SPAN * RATE)])


def hear_span_by_librosa(content: bytes) -> NDArray[np.float32]:
    """Decode and resample a part alone."""
    import librosa

    start = choose_start(content)
    samples, _ = librosa.load(io.BytesIO(content), sr=RATE, offset=start, duration=SPAN)
    return compute_mel(samples)


def choose_start(content: bytes) -> float:
    """Seconds before a random part of a recording."""
    import soundfile

    seconds = soundfile.info(io.BytesIO(content)).frames / AUDIO_RATE
    return float(np.random.default_rng().uniform(0, seconds - SPAN))


def compute_mel(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """80 mel bands, (bands, frames), in decibels."""
    import librosa

    energies = librosa.feature.melspectrogram(y=samples, sr=RATE, n_fft=400, hop_length=160, n_mels=80)
    return np.asarray(librosa.power_to_db(energies), np.float32)


def choose_frames() -> list[int]:
    """The numbers of the frames of a random part of a clip."""
    start = np.random.default_rng().uniform(0, VIDEO_SECONDS - SPAN)
    return [int((start + (part + 0.5) * SPAN / FRAMES) * VIDEO_RATE) for part in range(FRAMES)]


def watch_whole_by_pyav(content: bytes) -> NDArray[np.uint8]:
    """Decode a file from its beginning to the last frame that is wanted, and convert those alone."""
    import av

    numbers, frames = choose_frames(), []
    with av.open(io.BytesIO(content), "r") as file:
        file.streams.video[0].codec_context.thread_count = 1
        for number, frame in enumerate(file.decode(video=0)):
            if number in numbers:
                frames.append(frame.to_ndarray(format="rgb24", height=SIDE, width=SIDE))
    return np.stack(frames)


def watch_by_decord(content: bytes) -> NDArray[np.uint8]:
    """Seek, and decode the frames that are wanted."""
    import decord

    reader = decord.VideoReader(io.BytesIO(content), width=SIDE, height=SIDE, num_threads=1)
    return np.asarray(reader.get_batch(choose_frames()).asnumpy())


def stack(samples: Sequence[NDArray[Any]]) -> Any:
    """One tensor of arrays of one shape."""
    import torch

    return torch.from_numpy(np.stack(samples))


@cache
def open_tokenizer(path: Path) -> Any:
    """The tokenizer, which pads to the longest of a batch."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.enable_truncation(LONGEST)
    tokenizer.enable_padding()
    return tokenizer


def decode_text(content: bytes | str) -> str:
    """The text; some readers have decoded it."""
    return content if isinstance(content, str) else bytes(content).decode()


def plan_text(reading: Reading) -> Work:
    """Tokenize the texts of a batch at once, which is faster than one by one."""
    path = reading.tokenizer

    def tokenize(texts: Sequence[str]) -> Any:
        import torch

        return torch.tensor([encoding.ids for encoding in open_tokenizer(path).encode_batch(texts)])

    return Work(decode_text, tokenize)


FUNCTIONS: Mapping[str, Callable[[bytes], NDArray[Any]]] = {
    "images, Pillow": crop_by_pillow,
    "images, OpenCV": crop_by_opencv,
    "stored, Pillow": decode_by_pillow,
    "stored, OpenCV": decode_by_opencv,
    "audio, librosa, whole files": hear_whole_by_librosa,
    "audio, librosa, the part alone": hear_span_by_librosa,
    "video, PyAV, whole files": watch_whole_by_pyav,
    "video, decord": watch_by_decord,
}
"""By medium and library."""


def plan_work(reading: Reading, function: str | None) -> Work:
    """The work by its name in `FUNCTIONS`; None is that of texts."""
    return plan_text(reading) if function is None else Work(FUNCTIONS[function], stack)
