"""Compute MFCC, their deltas, log-mel bands and loudness in NumPy, all frames of a clip at once.

The window, the mel filters and the cosine transform are librosa's and SciPy's own, made once and kept between runs:
importing what makes them takes a second or two. The features are librosa's to 1e-3: tests compare them.
"""

import warnings
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.kept_arrays import keep_arrays
from pipeline.modalities.audio.mel import FilterBank, Framing, Samples, compute_energies, cut_frames
from pipeline.runtime.stopwatch import clock

FLOOR_DB = -100.0
"""Decibels of whatever is quieter: the `amin` of librosa's `power_to_db`, a power of 1e-10, and that of
`amplitude_to_db`, an amplitude of 1e-5."""

_FLOOR = np.float32(1e-10)
_DB_PER_NEPER = np.float32(10 / np.log(10))
"""Of powers: NumPy's natural logarithm of float32 takes a quarter of the time of its `log10`."""
_RANGE_DB = np.float32(80)
"""librosa's `top_db`: bands further below the clip's loudest are raised to that level."""

_LIBRARIES = ("librosa", "numba", "numpy", "scipy")

DELTA_WIDTH = 9
"""Frames that a line or a parabola is fitted to: librosa's default."""


@lru_cache(maxsize=8)
def load_filter_bank(framing: Framing) -> FilterBank:
    """Return librosa's periodic Hann window and mel filters, read-only."""

    def make() -> Sequence[NDArray[Any]]:
        with clock("load libraries"):
            from librosa.filters import get_window, mel
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of filters narrower than a bin, which are all zero
            filters = mel(sr=framing.rate, n_fft=framing.fft, n_mels=framing.bands, fmin=framing.low, fmax=framing.high)
        return [get_window("hann", framing.fft), np.ascontiguousarray(filters.T)]

    window, filters = keep_arrays({"Hann window and mel filters": asdict(framing)}, _LIBRARIES, make)
    window.setflags(write=False)
    filters.setflags(write=False)
    return FilterBank(window, filters)


@lru_cache(maxsize=8)
def load_cosines(bands: int, coefficients: int) -> NDArray[np.float64]:
    """Return the first rows of SciPy's orthonormal DCT-II, which librosa uses: float64 (coefficients, bands),
    read-only.

    As a matrix it takes less time than a fast transform of all rows where few are kept.
    """

    def make() -> Sequence[NDArray[Any]]:
        from scipy.fft import dct

        return [dct(np.eye(bands), axis=0, type=2, norm="ortho")[:coefficients]]

    (rows,) = keep_arrays({"DCT-II": [bands, coefficients]}, _LIBRARIES, make)
    rows.setflags(write=False)
    return rows


def compute_logmel(samples: Samples, framing: Framing) -> NDArray[np.float32]:
    """Return the energies of the mel bands in decibels: float32 (frames, bands), the transpose of librosa's.

    They are clipped 80 dB below the clip's own loudest, so a clip must be whole: padding it first gives others.
    """
    energies = compute_energies(samples, framing, load_filter_bank(framing))
    decibels = _DB_PER_NEPER * np.log(np.maximum(energies, _FLOOR))
    logmel: NDArray[np.float32] = np.maximum(decibels, decibels.max() - _RANGE_DB)
    return logmel


def compute_mfcc(logmel: NDArray[np.float32], coefficients: int) -> NDArray[np.float32]:
    """Return the MFCC of one clip from its `compute_logmel`: float32 (frames, coefficients), the transpose of
    librosa's.

    The cosine transform is orthonormal.
    """
    # In single precision the sums of the transform alone are off by up to 1e-3, in double by the last digit kept.
    mfcc: NDArray[np.float64] = logmel.astype(np.float64) @ load_cosines(logmel.shape[1], coefficients).T
    return mfcc.astype(np.float32)


def compute_delta(features: NDArray[np.float32], order: Literal[1, 2]) -> NDArray[np.float32]:
    """Return the first or second derivative of `features` over time: float32 (frames, features), in their unit per
    frame (or per frame squared); the transpose of librosa's `delta(width=9, order=order, mode="interp")`.

    They are the derivatives of a straight line, or of a parabola, fitted to the frames around each: the filters of
    Savitzky and Golay, "Smoothing and Differentiation of Data by Simplified Least Squares Procedures" (1964). The four
    frames at each end take part in the first and the last fit, whose derivative is the same all along it.

    librosa refuses fewer frames than the width: here the width shrinks to the largest odd number of frames, and with
    fewer than 3 frames the derivative is zero.
    """
    frames = len(features)
    width = min(DELTA_WIDTH, frames - (frames + 1) % 2)
    if width < 3:
        return np.zeros_like(features)
    fits = np.lib.stride_tricks.sliding_window_view(features, width, axis=0) @ _make_weights(width, order)
    return np.pad(fits, ((width // 2, width // 2), (0, 0)), mode="edge").astype(np.float32)


def _make_weights(width: int, order: Literal[1, 2]) -> NDArray[np.float64]:
    """Weights of the frames in a fit, float64 (width,): their weighted sum is its derivative."""
    offsets = np.arange(width, dtype=np.float64) - width // 2
    shape = offsets if order == 1 else offsets**2 - np.mean(offsets**2)
    weights: NDArray[np.float64] = order * shape / np.sum(shape**2)
    return weights


def compute_loudness(samples: Samples, framing: Framing) -> NDArray[np.float32]:
    """Return the root mean square of each frame in decibels relative to full scale: float32 (frames, 1), dBFS.

    It is `20 · log10(max(rms, 1e-5))`, where `rms` is that of the frame's `framing.fft` samples, full scale is 1, and
    the clip has zeros before and after it: the transpose of librosa's `amplitude_to_db(rms(y, frame_length=fft,
    hop_length=hop, center=True, pad_mode="constant"), ref=1.0, amin=1e-5, top_db=None)`. So a square wave of full scale
    has 0 dB and a sine -3.01, where AES17 would add 3.01. Frequencies are not weighted, unlike the LUFS of ITU-R
    BS.1770.
    """
    frames = cut_frames(samples, framing)
    powers = np.einsum("fs,fs->f", frames, frames) / np.float32(framing.fft)
    loudness: NDArray[np.float32] = 10 * np.log10(np.maximum(powers, _FLOOR))
    return loudness[:, None]
