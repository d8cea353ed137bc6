"""Mix the channels of a recording to one, and notice channels that cancel each other.

Two channels of which one is turned over add up to silence. Samples are float32, full scale ±1.
"""

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.mel import Samples
from pipeline.tables.drops import Reason, Rejection

Mono = Literal["mean", "first", "loudest"]

MAX_CANCELLATION = 20.0
"""Decibels that the mean may be quieter than the channels on average. Channels that have nothing in common lose 3 dB, 8
of them 9; the same sound with 1 % of difference between a channel and the other turned over loses 46."""

_QUIET = 1e-8
"""Mean power of channels, -80 dB, below which there is nothing that could cancel."""


def mix_to_mono(block: NDArray[np.float32], mono: Mono = "mean") -> Samples:
    """Return one channel (frames,) of `block`, float32 (frames, channels): their mean, the first, or the one of the
    most energy, of equal ones the first.

    Channels are added one by one: `block.mean(axis=1)` is 24 times slower, as its inner loop runs over few channels.
    """
    if mono != "mean":
        energies = measure_energies(block) if mono == "loudest" else np.ones(1)
        return np.ascontiguousarray(block[:, int(energies.argmax())])
    mixed = block[:, 0].copy()
    for channel in range(1, block.shape[1]):
        mixed += block[:, channel]
    mixed /= np.float32(block.shape[1])
    return mixed


def measure_energies(block: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the energy of each channel: the sum of squares, float64 (channels,)."""
    return np.array([float(np.dot(block[:, channel], block[:, channel])) for channel in range(block.shape[1])])


def measure_cancellation(channels: float, mixed: float, frames: int) -> float | None:
    """Return how many decibels the mean is quieter than the channels: by their mean energy and that of the mean, over
    so many frames; None where all are quiet."""
    if not channels > _QUIET * frames:
        return None
    return 10 * math.log10(channels / max(mixed, channels * 1e-24))


def find_cancelled(block: NDArray[np.float32], mixed: Samples) -> Rejection | None:
    """Return why a clip is dropped whose channels cancel each other in their mean `mixed`; None where they do not."""
    if block.shape[1] < 2 or not len(block):
        return None
    lost = measure_cancellation(float(measure_energies(block).mean()), float(np.dot(mixed, mixed)), len(block))
    if lost is None or not lost > MAX_CANCELLATION:
        return None
    detail = "dB that the mean of the channels is quieter than they are: they cancel each other; take first or loudest"
    return Rejection(Reason.CANCELLED_CHANNELS, detail, f"{lost:.1f}", f"{MAX_CANCELLATION:g}", "mono")
