"""Decode recordings with libsndfile a block at a time, mix them to one channel, and resample them with soxr.

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
from pipeline.tables.drops import Reason, Rejection

if TYPE_CHECKING:
    from soundfile import SoundFile

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Hz. Below, nothing can be recognised; above there is no converter on sale: such headers are wrong."""

MAX_PEAK = 1e12
"""Full scale is 1; beyond this, energies of long frames come near the largest number of float32."""

REJECTED_PEAK = Rejection(Reason.NONFINITE, "a sample is NaN, or beyond any recording", limit=f"{MAX_PEAK:g}")

_BLOCK = 1 << 16
"""Frames decoded at a time: memory for what a header claims is never allocated at once."""

LOOKAHEAD = 256
"""Samples of the lower rate after a cut that soxr's filter still reads; measured: what follows after 256 changes no
sample by more than 1e-6."""


class UndecodableError(ValueError):
    """The decoder cannot read the file. Its own message is left out: it may hold memory addresses."""


def load_decoder() -> None:
    """Import what decodes and resamples, for the processes that are forked from this one."""
    import soundfile  # noqa: F401
    import soxr  # noqa: F401


def read_blocks(data: bytes) -> Iterator[tuple[NDArray[np.float32], int]]:
    """Yield the whole recording, a block (frames, channels) at a time, each with the rate in Hz.

    Raises:
        UndecodableError: the decoder cannot open it, or fails on the way.
    """
    import soundfile

    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            for block in _read_frames(file, None):
                yield block, file.samplerate
    except soundfile.LibsndfileError:
        raise UndecodableError from None


def read_clip(data: bytes, span: tuple[float, float | None], seconds: float, rate: int) -> Samples:
    """Return the first `seconds` of the span (start, end or None) in seconds, mono, at `rate` Hz.

    Nothing beyond is decoded. The clip is empty where the span lies beyond the end of the recording.

    Raises:
        UndecodableError: as `read_blocks`.
    """
    import soundfile

    try:
        with clock("decode audio"), soundfile.SoundFile(io.BytesIO(data)) as file:
            start, end = (file.frames if edge is None else round(edge * file.samplerate) for edge in span)
            lookahead = LOOKAHEAD * max(1.0, file.samplerate / rate)
            needed = min(end - start, file.frames - start, math.ceil(seconds * file.samplerate + lookahead))
            if needed <= 0:
                return np.empty(0, np.float32)
            if start:
                file.seek(start)
            mono = [mix_to_mono(block) for block in _read_frames(file, needed)]
    except soundfile.LibsndfileError:
        raise UndecodableError from None
    samples = mono[0] if len(mono) == 1 else np.concatenate([np.empty(0, np.float32), *mono])
    return resample(samples, file.samplerate, rate)[: int(rate * seconds)]


def mix_to_mono(block: NDArray[np.float32]) -> Samples:
    """Return the mean of the channels of `block`, float32 (frames, channels), as (frames,).

    Channels are added one by one: `block.mean(axis=1)` is 24 times slower, as its inner loop runs over few channels.
    """
    mono = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mono += block[:, channel]
    mono /= np.float32(block.shape[1])
    return mono


def resample(samples: Samples, rate: int, to: int) -> Samples:
    """Return one channel of `rate` Hz resampled to `to` Hz, in soxr's quality `HQ`."""
    import soxr

    if rate == to or not samples.size:
        return samples
    with clock("resample"):
        resampled: Samples = soxr.resample(samples, rate, to, quality="HQ")
    return resampled


def _read_frames(file: "SoundFile", frames: int | None) -> Iterator[NDArray[np.float32]]:
    """Yield the next `frames`, or all, in blocks."""
    left = math.inf if frames is None else frames
    while left > 0 and len(block := _read_block(file, int(min(left, _BLOCK)))):
        left -= len(block)
        yield block


def _read_block(file: "SoundFile", frames: int) -> NDArray[np.float32]:
    with clock("decode audio"):
        block: NDArray[np.float32] = file.read(frames, dtype="float32", always_2d=True)
    return block
