"""Encode narrations anew in many ways, and count which copies are near their originals."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.clean.near_duplicates import normalize_thumbnails
from pipeline.clean.params import Nearness
from pipeline.modalities.audio.check import check_audio
from pipeline.modalities.audio.rules import AudioCheck
from pipeline.modalities.modality import Checked, PerceptualHash

Recording = tuple[NDArray[np.float32], int]
"""Samples (frames, channels) and their rate in Hz."""


def measure_recall(paths: Sequence[Path], nearness: Nearness) -> dict[str, float]:
    """Return for each kind of copy the share that is near its original."""
    params = AudioCheck()
    near = dict.fromkeys(KINDS, 0)
    for path in paths:
        recording = _read(path)
        original = _hash(path.read_bytes(), "audio/ogg", params)
        for kind, (media_type, copy) in KINDS.items():
            near[kind] += _are_near(original, _hash(copy(*recording), media_type, params), nearness)
    return {kind: count / len(paths) for kind, count in near.items()}


def _read(path: Path) -> Recording:
    import soundfile

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return samples, rate


def _hash(data: bytes, media_type: str, params: AudioCheck) -> PerceptualHash:
    checked = check_audio(data, media_type, params)
    assert isinstance(checked, Checked), checked
    return checked.perceptual_hash


def _are_near(one: PerceptualHash, other: PerceptualHash, nearness: Nearness) -> bool:
    cells = normalize_thumbnails(np.array([list(each.thumbnail) for each in (one, other)], np.uint8)).astype(int)
    differ = float(np.abs(cells[0] - cells[1]).mean())
    return (one.bits ^ other.bits).bit_count() <= nearness.bits and differ <= nearness.difference


def _encode(samples: NDArray[np.float32], rate: int, **options: Any) -> bytes:
    import soundfile

    file = io.BytesIO()
    soundfile.write(file, samples, rate, **options)
    return file.getvalue()


def _compress(level: float) -> Callable[[NDArray[np.float32], int], bytes]:
    return lambda samples, rate: _encode(samples, rate, format="OGG", subtype="VORBIS", compression_level=level)


def _resample(to: int) -> Callable[[NDArray[np.float32], int], bytes]:
    import soxr

    return lambda samples, rate: _encode(soxr.resample(samples, rate, to), to, format="WAV")


def _add_noise(decibels: float) -> Callable[[NDArray[np.float32], int], bytes]:
    def add(samples: NDArray[np.float32], rate: int) -> bytes:
        level = np.sqrt(np.square(samples).mean()) * 10 ** (-decibels / 20)
        noise = np.random.default_rng(len(samples)).normal(0, level, samples.shape)
        return _encode(samples + noise.astype(np.float32), rate, format="WAV", subtype="FLOAT")

    return add


def _trim(seconds: float) -> Callable[[NDArray[np.float32], int], bytes]:
    return lambda samples, rate: _encode(samples[int(seconds * rate) :], rate, format="WAV")


KINDS: dict[str, tuple[str, Callable[[NDArray[np.float32], int], bytes]]] = {
    "Vorbis of middle quality": ("audio/ogg", _compress(0.5)),
    "Vorbis of lowest quality": ("audio/ogg", _compress(1.0)),
    "16 kHz": ("audio/wav", _resample(16_000)),
    "8 kHz": ("audio/wav", _resample(8_000)),
    "10 dB quieter": ("audio/flac", lambda samples, rate: _encode(samples * 0.316, rate, format="FLAC")),
    "noise 40 dB below": ("audio/wav", _add_noise(40)),
    "noise 30 dB below": ("audio/wav", _add_noise(30)),
    "noise 20 dB below": ("audio/wav", _add_noise(20)),
    "first 20 ms cut off": ("audio/wav", _trim(0.02)),
    "first 50 ms cut off": ("audio/wav", _trim(0.05)),
}
"""The media type of each kind of copy, and what makes it of samples (frames, channels) and a rate in Hz."""
