"""Compute mel spectrograms and MFCC of clips in NumPy, by librosa's definitions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float32]
"""float32 (frames, values), C-contiguous."""

HZ_PER_MEL = 200 / 3
BEND_HZ = 1000.0
LOG_PER_MEL = np.log(6.4) / 27
"""Slaney's mel scale: linear up to the bend, logarithmic above (Auditory Toolbox, Interval Research 1998-010)."""

FLOOR = np.float32(1e-10)
"""The power that silence has: librosa's `amin`."""
DECIBELS = np.float32(10 / np.log(10))
"""Of powers, a neper: NumPy's natural logarithm of float32 takes a quarter of the time of its `log10`."""

FRAMES_AT_A_TIME = 128
"""Their spectra stay in the processor's cache."""


class Filters(NamedTuple):
    """The window of a frame, float64 (fft,), and of each mel band its bins of the spectrum and their weights, float32
    (bins,)."""

    window: NDArray[np.float64]
    bands: list[tuple[slice, NDArray[np.float32]]]


@dataclass(frozen=True)
class Features(ABC):
    """Features of the frames of a clip, whose centres lie `hop` samples apart, from the first sample on; beyond the
    clip's ends are zeros.

    Args:
        bands: mel bands.
        fft: samples of a frame, under a Hann window. At 16 kHz, the default is 25 ms.
        hop: samples from one frame to the next. At 16 kHz, the default is 10 ms.
        low, high: Hz, the edges of the lowest and the highest band; None is half of the rate.
        range_db: bands further below the loudest of the clip are raised to that level; librosa's `top_db`.

    Raises:
        ValueError: an argument is out of range.
    """

    bands: int = 80
    fft: int = 400
    hop: int = 160
    low: float = 0.0
    high: float | None = None
    range_db: float = 80.0

    def __post_init__(self) -> None:
        for name, value, most in (("bands", self.bands, 1024), ("fft", self.fft, 65_536), ("hop", self.hop, 65_536)):
            if type(value) is not int or not 1 <= value <= most:
                raise ValueError(f"{name} is {value!r:.80}; it must be a whole number from 1 to {most}")
        if self.range_db <= 0:
            raise ValueError(f"range_db is {self.range_db!r}; it must be over 0")

    @property
    @abstractmethod
    def values(self) -> int:
        """Values of a frame."""

    @abstractmethod
    def compute(self, samples: NDArray[np.float32], rate: int, out: Rows) -> None:
        """Compute the features of one clip.

        Args:
            samples: float32 (samples,), at least one.
            rate: Hz.
            out: written to, float32 (`count_frames`, `values`).
        """

    def count_frames(self, samples: int) -> int:
        """Return the frames of a clip of so many samples."""
        return 1 + (samples - self.fft % 2) // self.hop

    def check_rate(self, rate: int) -> None:
        """Check that the bands lie below half of the rate.

        Raises:
            ValueError: they do not.
        """
        if not 0 <= self.low < self._find_high(rate) <= rate / 2:
            raise ValueError(
                f"low and high are {self.low!r} and {self.high!r}; they must ascend from 0 to {rate / 2:g}, half of "
                "the rate"
            )

    def _find_high(self, rate: int) -> float:
        return rate / 2 if self.high is None else self.high

    def _compute_decibels(self, samples: NDArray[np.float32], rate: int, out: Rows) -> None:
        """Compute librosa's `power_to_db(melspectrogram(…), top_db=range_db)`, transposed.

        Spectra are computed in double precision, as librosa's are, and rounded then: in single, bands 80 dB below the
        loudest are off by up to 0.01 dB, and NumPy's transform takes three times as long. Each band is a product
        of its own, since BLAS would start its threads for one of all: in CPU time, several times as much as it saves.
        """
        filters = build_filters(rate, self.fft, self.bands, self.low, self._find_high(rate))
        half = self.fft // 2
        padded = np.zeros(len(samples) + 2 * half)
        padded[half : half + len(samples)] = samples
        frames = np.lib.stride_tricks.sliding_window_view(padded, self.fft)[:: self.hop]
        for start in range(0, len(frames), FRAMES_AT_A_TIME):
            part = slice(start, start + FRAMES_AT_A_TIME)
            spectra = np.fft.rfft(frames[part] * filters.window).astype(np.complex64)
            powers = np.square(spectra.real)
            powers += np.square(spectra.imag)
            for band, (bins, weights) in enumerate(filters.bands):
                out[part, band] = powers[:, bins] @ weights
        np.maximum(out, FLOOR, out=out)
        np.log(out, out=out)
        out *= DECIBELS
        np.maximum(out, out.max() - np.float32(self.range_db), out=out)


@dataclass(frozen=True)
class LogMel(Features):
    """The energies of mel bands in decibels, float32 (frames, bands).

    It is the transpose of librosa's `power_to_db(melspectrogram(y, sr=rate, n_fft=fft, hop_length=hop, n_mels=bands,
    fmin=low, fmax=high), top_db=range_db)`, whose frames are centred and padded with zeros.
    """

    @property
    def values(self) -> int:
        """See `Features.values`."""
        return self.bands

    def compute(self, samples: NDArray[np.float32], rate: int, out: Rows) -> None:
        """See `Features.compute`."""
        self._compute_decibels(samples, rate, out)


@dataclass(frozen=True, kw_only=True)
class Mfcc(Features):
    """Mel-frequency cepstral coefficients, float32 (frames, coefficients): the orthonormal DCT-II of `LogMel`.

    It is the transpose of librosa's `mfcc(n_mfcc=coefficients)` of that spectrogram.
    """

    coefficients: int = 13

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.coefficients <= self.bands:
            raise ValueError(f"coefficients is {self.coefficients!r}; it must be 1 to bands ({self.bands})")

    @property
    def values(self) -> int:
        """See `Features.values`."""
        return self.coefficients

    def compute(self, samples: NDArray[np.float32], rate: int, out: Rows) -> None:
        """See `Features.compute`; sums are in double precision, single would be off by up to 1e-3, and without BLAS,
        see `_compute_decibels`."""
        decibels = np.empty((len(out), self.bands), np.float32)
        self._compute_decibels(samples, rate, decibels)
        out[:] = np.einsum("fb,bc->fc", decibels, build_cosines(self.bands, self.coefficients))


@lru_cache(maxsize=32)
def build_filters(rate: int, fft: int, bands: int, low: float, high: float) -> Filters:
    """Return the periodic Hann window and Slaney's triangular filters of equal area, read-only.

    They are `librosa.filters.mel` with its defaults, to the last digit but one.
    """
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi / fft * np.arange(fft))
    lowest, highest = _convert_to_mel(np.array([low, high]))
    edges = _convert_to_hz(np.linspace(lowest, highest, bands + 2))
    frequencies = np.arange(fft // 2 + 1)[:, None] * (rate / fft)
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    triangles = (np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))).astype(np.float32)
    window.setflags(write=False)
    return Filters(window, [_cut_band(triangle) for triangle in triangles.T])


def _cut_band(triangle: NDArray[np.float32]) -> tuple[slice, NDArray[np.float32]]:
    """Return the bins of a filter that are not zero; none where a band is narrower than a bin and lies between two."""
    within = np.flatnonzero(triangle)
    bins = slice(int(within[0]), int(within[-1]) + 1) if len(within) else slice(0, 0)
    weights = triangle[bins].copy()
    weights.setflags(write=False)
    return bins, weights


@lru_cache(maxsize=32)
def build_cosines(bands: int, coefficients: int) -> NDArray[np.float64]:
    """Return the first columns of the orthonormal DCT-II, float64 (bands, coefficients), read-only."""
    orders = np.arange(coefficients)
    cosines: NDArray[np.float64] = np.cos(np.pi / bands * (np.arange(bands)[:, None] + 0.5) * orders)
    cosines *= np.sqrt(np.where(orders, 2, 1) / bands)
    cosines.setflags(write=False)
    return cosines


def _convert_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = BEND_HZ / HZ_PER_MEL + np.log(np.maximum(hz, BEND_HZ) / BEND_HZ) / LOG_PER_MEL
    return np.where(hz < BEND_HZ, hz / HZ_PER_MEL, above)


def _convert_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    bend = BEND_HZ / HZ_PER_MEL
    above = BEND_HZ * np.exp(LOG_PER_MEL * (np.maximum(mel, bend) - bend))
    return np.where(mel < bend, mel * HZ_PER_MEL, above)
