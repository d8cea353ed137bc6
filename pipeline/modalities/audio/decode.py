"""Sounds: decoded by libsndfile a block at a time, mixed to one channel, resampled by soxr.

Samples are float32, full scale ±1: (frames, channels) as decoded, (frames,) once mono.
"""

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.mel import Samples
from pipeline.runtime.stopwatch import clock

if TYPE_CHECKING:
    from soundfile import SoundFile

MAX_PEAK = 1e12
"""Full scale is 1; beyond this, energies of long frames come near the end of what float32 can hold."""

_BLOCK = 1 << 16
"""Frames decoded at a time: what a header claims is never allocated at once."""

LOOKAHEAD = 256
"""Samples of the lower rate that follow a cut and that soxr's filter still looks at; measured: after 256, what more
there is changes no sample by more than 1e-6."""


class UndecodableError(ValueError):
    """The decoder gave up. Without its words, which hold addresses."""


def load_decoder() -> None:
    """Load what reads and resamples sounds, for the processes that are forked from this one."""
    import soundfile  # noqa: F401
    import soxr  # noqa: F401


def read_blocks(data: bytes) -> Iterator[tuple[NDArray[np.float32], int]]:
    """The whole sound, a block (frames, channels) at a time, each with the rate in Hz.

    Raises:
        UndecodableError: the decoder cannot open it, or gives up on the way.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            for block in _read_frames(file, None):
                yield block, file.samplerate
    except soundfile.LibsndfileError:
        raise UndecodableError from None


def read_clip(data: bytes, span: tuple[float, float | None], seconds: float, rate: int) -> Samples:
    """The first `seconds` of the span (start, end or None) in seconds, mono, at `rate` Hz; nothing beyond is decoded.

    It is empty where the span lies beyond the end of the sound.

    Raises:
        UndecodableError: as `read_blocks`.
    """
    import soundfile

    try:
        with clock("decode sound"), soundfile.SoundFile(io.BytesIO(data)) as file:
            start, end = (file.frames if edge is None else round(edge * file.samplerate) for edge in span)
            lookahead = LOOKAHEAD * max(1.0, file.samplerate / rate)
            wanted = min(end - start, file.frames - start, math.ceil(seconds * file.samplerate + lookahead))
            if wanted <= 0:
                return np.empty(0, np.float32)
            if start:
                file.seek(start)
            mono = [mix_to_mono(block) for block in _read_frames(file, wanted)]
    except soundfile.LibsndfileError:
        raise UndecodableError from None
    samples = mono[0] if len(mono) == 1 else np.concatenate([np.empty(0, np.float32), *mono])
    return resample(samples, file.samplerate, rate)[: int(rate * seconds)]


def mix_to_mono(block: NDArray[np.float32]) -> Samples:
    """The mean of the channels of `block`, float32 (frames, channels), as (frames,).

    Channels are added one by one: `block.mean(axis=1)` is 24 times slower, its inner loop is as short as the channels
    are few.
    """
    mono = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    mono /= np.float32(block.shape[1])
    return mono


def resample(samples: Samples, rate: int, to: int) -> Samples:
    """One channel of `rate` Hz at `to` Hz, by soxr in its high quality."""
    import soxr

    if rate == to or not samples.size:
        return samples
    with clock("resample"):
        resampled: Samples = soxr.resample(samples, rate, to, quality="HQ")
    return resampled


def _read_frames(file: "SoundFile", frames: int | None) -> Iterator[NDArray[np.float32]]:
    """The next `frames`, or all."""
    left = math.inf if frames is None else frames
    while left > 0 and len(block := _read_block(file, int(min(left, _BLOCK)))):
        left -= len(block)
        yield block


def _read_block(file: "SoundFile", frames: int) -> NDArray[np.float32]:
    with clock("decode sound"):
        block: NDArray[np.float32] = file.read(frames, dtype="float32", always_2d=True)
    return block
