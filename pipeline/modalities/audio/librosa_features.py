"""Compute the features that librosa computes: spectral shapes, chroma, pitch, rhythm, constant-Q.

All have the frames of `Framing`: librosa's `center=True` with zeros at both ends, which is its default. librosa is
imported when one of them is first computed, which takes 2 s: `pipeline.modalities.audio.features.prepare_audio` has it
done once, in the process that workers are forked from.
"""

import fcntl
import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.runtime.stopwatch import clock

if TYPE_CHECKING:
    from pipeline.modalities.audio.clip import Clip
    from pipeline.modalities.audio.params import AudioFeatures

Frames = NDArray[np.float32]
"""A feature of one clip: float32 (frames, values)."""

CHROMA = 12
"""Pitch classes, from C."""

CONTRAST_LOW = 200.0
"""Hz: the upper edge of the lowest band of the spectral contrast, librosa's default; each further one is an octave."""

CONTRAST_BANDS = 6
"""Octaves above it, librosa's default; fewer where the rate has no room for them."""

F0_MIN, F0_MAX = 65.41, 2093.0
"""Hz: C2 and C7, the range that librosa's documentation of `pyin` advises."""

CQT_LOW = 32.703195662574829
"""Hz: C1, librosa's default."""

CQT_BINS = 84
"""Seven octaves of 12 bins, librosa's default; fewer where the rate has no room for them."""

CQT_MARGIN = 1.05
"""The highest filter reaches 4.4 % above its centre, and must end below half of the rate."""

CQT_LEAST = 256
"""Samples: a clip is halved at most 7 times."""

TEMPOGRAM_LAGS = 384
"""Lags of the autocorrelation, in frames: librosa's default `win_length`."""


@cache
def load_librosa() -> Any:
    """Import librosa."""
    with clock("load libraries"):
        import librosa

    return librosa


@contextmanager
def lock_compiled_functions() -> Iterator[None]:
    """Wait until no other process compiles functions of librosa into the same folder.

    numba has no lock there. Of six processes that met an empty `NUMBA_CACHE_DIR` together, one wrote an index to code
    of another: it ended with SIGSEGV, and so did every process that read the folder later.
    """
    if folder := os.environ.get("NUMBA_CACHE_DIR"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / ".lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    else:
        yield


@contextmanager
def _ignore_warnings() -> Iterator[None]:
    """librosa warns of clips shorter than its window and of silence: both have well-defined features."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def compute_magnitudes(clip: "Clip") -> NDArray[np.float32]:
    """Return the magnitudes of the short-time Fourier transform: float32 (fft // 2 + 1, frames), librosa's axes."""
    framing = clip.framing
    with _ignore_warnings():
        spectra = load_librosa().stft(clip.samples, n_fft=framing.fft, hop_length=framing.hop)
    magnitudes: NDArray[np.float32] = np.abs(spectra)
    return magnitudes


def compute_chroma(clip: "Clip") -> Frames:
    """Return the energies of the 12 pitch classes, from C, relative to the strongest of the frame: (frames, 12).

    It is `librosa.feature.chroma_stft`, the tuning estimated from the clip. A silent frame has zeros.
    """
    framing, powers = clip.framing, np.square(clip.magnitudes)
    with _ignore_warnings():
        return _transpose(load_librosa().feature.chroma_stft(S=powers, sr=framing.rate, n_fft=framing.fft), clip)


def compute_spectral_centroid(clip: "Clip") -> Frames:
    """Return the mean frequency of each frame, weighted by magnitude: (frames, 1), Hz; 0 for silence."""
    return _compute_spectral("spectral_centroid", clip)


def compute_spectral_bandwidth(clip: "Clip") -> Frames:
    """Return the deviation of the frequencies from the centroid, weighted by magnitude: (frames, 1), Hz."""
    return _compute_spectral("spectral_bandwidth", clip)


def compute_spectral_rolloff(clip: "Clip") -> Frames:
    """Return the frequency below which 85 % of the magnitudes lie, librosa's default: (frames, 1), Hz."""
    return _compute_spectral("spectral_rolloff", clip)


def compute_spectral_flatness(clip: "Clip") -> Frames:
    """Return the geometric by the arithmetic mean of the powers: (frames, 1), 0 for a tone, 1 for white noise or
    silence."""
    return _transpose(load_librosa().feature.spectral_flatness(S=clip.magnitudes), clip)


def count_contrast_bands(params: "AudioFeatures") -> int:
    """Return the octaves above `CONTRAST_LOW` that begin below half of the rate, at most `CONTRAST_BANDS`."""
    return min(CONTRAST_BANDS, math.ceil(math.log2(params.rate / 2 / CONTRAST_LOW)))


def compute_spectral_contrast(clip: "Clip") -> Frames:
    """Return peak over valley of each band in dB: (frames, bands + 1): up to `CONTRAST_LOW`, then octave by octave."""
    bands = count_contrast_bands(clip.params)
    return _compute_spectral("spectral_contrast", clip, n_bands=bands, fmin=CONTRAST_LOW)


def compute_zero_crossing_rate(clip: "Clip") -> Frames:
    """Return the share of samples of a frame whose sign differs from the one before: (frames, 1).

    librosa repeats the first and the last sample beyond the ends here, where other features have zeros.
    """
    framing = clip.framing
    rates = load_librosa().feature.zero_crossing_rate(clip.samples, frame_length=framing.fft, hop_length=framing.hop)
    return _transpose(rates, clip)


def compute_rms(clip: "Clip") -> Frames:
    """Return the root mean square of each frame: (frames, 1), of full scale. `loudness` is the same in decibels."""
    framing = clip.framing
    rms = load_librosa().feature.rms(y=clip.samples, frame_length=framing.fft, hop_length=framing.hop)
    return _transpose(rms, clip)


def find_pitch_frame(params: "AudioFeatures") -> int:
    """Return the samples of a frame of `compute_f0`: `fft`, or two periods of `F0_MIN` where that is less."""
    return max(params.fft, 2 * (math.ceil(params.rate / F0_MIN) + 1))


def compute_f0(clip: "Clip") -> Frames:
    """Return the fundamental frequency by `librosa.pyin`, between C2 and C7: (frames, 1), Hz.

    Frames without a voice, which pyin marks with NaN, have 0 Hz.
    """
    framing = clip.framing
    with _ignore_warnings():
        f0, _, _ = load_librosa().pyin(
            clip.samples,
            fmin=F0_MIN,
            fmax=min(F0_MAX, framing.rate / 2),
            sr=framing.rate,
            frame_length=find_pitch_frame(clip.params),
            hop_length=framing.hop,
            fill_na=np.nan,
        )
    return _transpose(np.nan_to_num(f0[None]), clip)


def compute_tempogram(clip: "Clip") -> Frames:
    """Return the local autocorrelation of the onset strength, by lag in frames: (frames, `TEMPOGRAM_LAGS`), 1 at lag 0.

    It is `librosa.feature.tempogram` of the onset strength over the mel bands and frames of the params.
    """
    framing, librosa = clip.framing, load_librosa()
    with _ignore_warnings():
        onsets = librosa.onset.onset_strength(
            y=clip.samples, sr=framing.rate, n_fft=framing.fft, hop_length=framing.hop, n_mels=framing.bands
        )
        tempogram = librosa.feature.tempogram(
            onset_envelope=onsets, sr=framing.rate, hop_length=framing.hop, win_length=TEMPOGRAM_LAGS
        )
    return _transpose(tempogram, clip)


def count_cqt_bins(params: "AudioFeatures") -> int:
    """Return the semitones from C1 whose filters end below half of the rate, at most `CQT_BINS`."""
    return min(CQT_BINS, 1 + math.floor(12 * math.log2(params.rate / 2 / CQT_MARGIN / CQT_LOW)))


def compute_cqt(clip: "Clip") -> Frames:
    """Return the magnitudes of the constant-Q transform, a bin per semitone from C1: (frames, bins).

    librosa refuses clips that its halving of the rate for lower octaves leaves without a sample: they are padded, with
    the zeros that it assumes after the end.
    """
    framing = clip.framing
    samples = np.pad(clip.samples, (0, max(0, CQT_LEAST - len(clip.samples))))
    with _ignore_warnings():
        spectra = load_librosa().cqt(
            samples,
            sr=framing.rate,
            hop_length=framing.hop,
            fmin=CQT_LOW,
            n_bins=count_cqt_bins(clip.params),
        )
    return _transpose(np.abs(spectra), clip)


def _compute_spectral(name: str, clip: "Clip", **settings: Any) -> Frames:
    """A feature that librosa computes of magnitudes and the rate."""
    compute = getattr(load_librosa().feature, name)
    framing = clip.framing
    with _ignore_warnings():
        return _transpose(compute(S=clip.magnitudes, sr=framing.rate, n_fft=framing.fft, **settings), clip)


def _transpose(values: NDArray[Any], clip: "Clip") -> Frames:
    """`values` (values, frames) as float32 (frames, values).

    librosa counts one frame more where it uses an even window and `fft` is odd: that one is left out.
    """
    frames = clip.framing.count_frames(len(clip.samples))
    assert values.shape[1] >= frames
    return values.T[:frames].astype(np.float32)
