"""Cut clips into frames and compute their mel spectrograms, by librosa's definitions.

`build_filter_bank` makes the filters of perceptual hashes in NumPy alone: importing `librosa.filters` takes 2 s a
process, which `clean` would pay for nothing else. Features have librosa's own filters, see
`pipeline.modalities.audio.numpy_features`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""One channel: float32 (samples,), full scale ±1."""

_HZ_PER_MEL = 200 / 3  # below the bend
_BEND_HZ = 1000.0
_BEND_MEL = _BEND_HZ / _HZ_PER_MEL
_LOG_PER_MEL = np.log(6.4) / 27  # above it

_FRAMES_AT_A_TIME = 128
"""Spectra of so many frames stay in the processor's cache: 20 s take 4 ms, where 1024 at a time took 12."""


@dataclass(frozen=True)
class Framing:
    """How clips are cut: Hz; samples of a frame and from one frame to the next; mel bands between two frequencies in
    Hz."""

    rate: int
    fft: int
    hop: int
    bands: int
    low: float
    high: float

    def count_frames(self, samples: int) -> int:
        """Return the frames of a clip of so many samples: their centres lie at multiples of `hop`, from sample 0 on."""
        return 1 + (samples + 2 * (self.fft // 2) - self.fft) // self.hop


def cut_frames(samples: Samples, framing: Framing) -> NDArray[np.float32]:
    """Return the frames of a clip, float32 (frames, framing.fft): a view of the clip between half frames of zeros,
    which is librosa's `center=True` with `pad_mode="constant"`."""
    half = framing.fft // 2
    padded = np.zeros(len(samples) + 2 * half, np.float32)  # np.pad takes twice the time
    padded[half : half + len(samples)] = samples
    frames: NDArray[np.float32] = np.lib.stride_tricks.sliding_window_view(padded, framing.fft)[:: framing.hop]
    return frames


@dataclass(frozen=True, eq=False)
class FilterBank:
    """The window of a frame, float64 (fft,), and the mel filters, float32 (fft // 2 + 1, bands)."""

    window: NDArray[np.float64]
    filters: NDArray[np.float32]


def compute_energies(samples: Samples, framing: Framing, bank: FilterBank) -> NDArray[np.float32]:
    """Return the energies of the mel bands, float32 (frames, bands): librosa's `melspectrogram` with the axes swapped.

    Spectra are computed in double precision, as librosa's are, and rounded then: in single, bands 80 dB below the
    loudest are off by up to 0.01 dB, and NumPy's transform takes three times as long.
    """
    frames = cut_frames(samples, framing)
    energies = np.empty((len(frames), framing.bands), np.float32)
    for start in range(0, len(frames), _FRAMES_AT_A_TIME):
        spectra = np.fft.rfft(frames[start : start + _FRAMES_AT_A_TIME] * bank.window).astype(np.complex64)
        powers = np.square(spectra.real)
        powers += np.square(spectra.imag)
        np.matmul(powers, bank.filters, out=energies[start : start + _FRAMES_AT_A_TIME])
    return energies


@lru_cache(maxsize=64)  # rates come from files, and there may be any number of them
def build_filter_bank(framing: Framing) -> FilterBank:
    """Return the periodic Hann window and the filters of Slaney's mel scale (Auditory Toolbox, 1998), read-only.

    The scale is linear below 1 kHz and logarithmic above, the filters are triangles of equal area: librosa's, to the
    last digit but one.
    """
    window: NDArray[np.float64] = 0.5 - 0.5 * np.cos(2 * np.pi / framing.fft * np.arange(framing.fft))
    low, high = _convert_to_mel(np.array([framing.low, framing.high]))
    edges = _convert_to_hz(np.linspace(low, high, framing.bands + 2))
    frequencies = np.arange(framing.fft // 2 + 1)[:, None] * (framing.rate / framing.fft)
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    filters = np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))
    bank = FilterBank(window, filters.astype(np.float32))
    bank.window.setflags(write=False)
    bank.filters.setflags(write=False)
    return bank


def _convert_to_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BEND_MEL + np.log(np.maximum(hz, _BEND_HZ) / _BEND_HZ) / _LOG_PER_MEL
    return np.where(hz < _BEND_HZ, hz / _HZ_PER_MEL, above)


def _convert_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    above = _BEND_HZ * np.exp(_LOG_PER_MEL * (np.maximum(mel, _BEND_MEL) - _BEND_MEL))
    return np.where(mel < _BEND_MEL, mel * _HZ_PER_MEL, above)
