"""Read a span of an audio file at another rate: the samples that the whole recording, resampled, has there."""

import math

from shardwright.ops.audio.audio_file import AudioFile, Samples
from shardwright.ops.explain_missing import explain_missing

QUALITY = "HQ"
"""20 bits, librosa's default too."""

MARGIN = 160
"""Samples of the lower rate before and after a span that soxr's filter reads. Measured for ratios from 1/12 to 2: a
span differs from that of the whole by 4e-7 of full scale with 128 or more, by 2e-4 with 64."""

MAX_PEAK = 1e12
"""Full scale is 1; beyond this, energies of long frames come near the largest number of float32."""


def count_resampled(frames: int, rate: int, to: int) -> int:
    """Return the samples of a recording of so many frames after resampling: soxr's own number."""
    return (2 * frames * to + rate) // (2 * rate)


def read_resampled(file: AudioFile, start: int, stop: int, to: int, mono: bool) -> Samples:
    """Return the samples from `start` up to `stop`, which count at the rate `to`, of a file.

    They are those of the whole recording, resampled by soxr, within 1e-6 of full scale. Only what they depend on is
    decoded: input and output are in phase at every `rate / gcd(rate, to)` frames, so resampling begins at such a frame.

    Args:
        file: open.
        start, stop: samples of the result, `stop` at most `count_resampled`.
        to: Hz.
        mono: average the channels.

    Returns:
        float32 (stop - start,), or (stop - start, channels).

    Raises:
        ValueError: see `AudioFile.read`.
        ModuleNotFoundError: soxr is not installed.
    """
    if file.rate == to:
        return _read(file, start, stop, mono)
    step_in, step_out = (rate // math.gcd(file.rate, to) for rate in (file.rate, to))
    margin = math.ceil(MARGIN * max(1.0, file.rate / to))
    block = max(0, (start * step_in // step_out - margin) // step_in)
    end = min(file.frames, math.ceil(stop * step_in / step_out) + margin)
    samples = _read(file, block * step_in, end, mono)
    with explain_missing("audio is resampled"):
        import soxr
    resampled: Samples = soxr.resample(samples, file.rate, to, quality=QUALITY)
    return resampled[start - block * step_out : stop - block * step_out]


def _read(file: AudioFile, start: int, stop: int, mono: bool) -> Samples:
    """Return samples at the file's own rate, float32 (frames,) or (frames, channels).

    Raises:
        ValueError: see `AudioFile.read`; also where a value is no sample.
    """
    samples = file.read(start, stop)
    if not (samples.max(initial=0) <= MAX_PEAK and samples.min(initial=0) >= -MAX_PEAK):
        raise ValueError(f"a sample is no number, or beyond {MAX_PEAK:g}")
    if not mono:
        return samples
    mixed = samples[:, 0].copy()  # NumPy's mean along the short axis takes six times as long
    for channel in range(1, samples.shape[1]):
        mixed += samples[:, channel]
    mixed /= samples.shape[1]
    return mixed
