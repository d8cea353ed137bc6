"""List the audio features that `extract.audio.features` may name.

To add one: its row here, with the function that computes it from a clip; or an `AudioFeature` in a plugin.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.config.lazy_import import LazyObject, LazyTable
from pipeline.modalities.audio import librosa_features
from pipeline.modalities.audio.clip import Clip
from pipeline.modalities.audio.numpy_features import FLOOR_DB, compute_delta, compute_loudness

if TYPE_CHECKING:
    from pipeline.modalities.audio.params import AudioFeatures


@dataclass(frozen=True, kw_only=True)
class AudioFeature:
    """A feature with some values per frame.

    Attributes:
        compute: returns the feature of a clip, float32 (frames, values): as many frames as `clip.framing` counts.
        count_values: returns the values per frame.
        unit: of the values; empty where they have none.
        find_fault: returns a key of the params whose value the feature cannot be computed with, and what is allowed.
        padding: what follows the last frame of a clip: where values are levels, the lowest.
    """

    compute: Callable[[Clip], NDArray[np.float32]]
    count_values: Callable[["AudioFeatures"], int]
    find_fault: Callable[["AudioFeatures"], tuple[str, str] | None] = lambda params: None
    unit: str = ""
    padding: float = 0.0


def _count_coefficients(params: "AudioFeatures") -> int:
    return params.coefficients


def _count_one(params: "AudioFeatures") -> int:
    return 1


def _find_contrast_fault(params: "AudioFeatures") -> tuple[str, str] | None:
    """Every octave must have a bin of the spectrum."""
    least = math.ceil(params.rate / librosa_features.CONTRAST_LOW)
    if params.fft >= least:
        return None
    return "fft", f"it must be at least rate / {librosa_features.CONTRAST_LOW:g} ({least}) for spectral_contrast"


AUDIO_FEATURES: LazyTable[AudioFeature] = LazyTable(
    {
        "mfcc": AudioFeature(compute=lambda clip: clip.mfcc, count_values=_count_coefficients),
        "mfcc_delta": AudioFeature(
            compute=lambda clip: compute_delta(clip.mfcc, 1), count_values=_count_coefficients, unit="per frame"
        ),
        "mfcc_delta2": AudioFeature(
            compute=lambda clip: compute_delta(clip.mfcc, 2), count_values=_count_coefficients, unit="per frame squared"
        ),
        "logmel": AudioFeature(
            compute=lambda clip: clip.logmel, count_values=lambda params: params.mels, unit="dB", padding=FLOOR_DB
        ),
        "loudness": AudioFeature(
            compute=lambda clip: compute_loudness(clip.samples, clip.framing),
            count_values=_count_one,
            unit="dBFS",
            padding=FLOOR_DB,
        ),
        "chroma": AudioFeature(
            compute=librosa_features.compute_chroma, count_values=lambda params: librosa_features.CHROMA
        ),
        "spectral_centroid": AudioFeature(
            compute=librosa_features.compute_spectral_centroid, count_values=_count_one, unit="Hz"
        ),
        "spectral_bandwidth": AudioFeature(
            compute=librosa_features.compute_spectral_bandwidth, count_values=_count_one, unit="Hz"
        ),
        "spectral_rolloff": AudioFeature(
            compute=librosa_features.compute_spectral_rolloff, count_values=_count_one, unit="Hz"
        ),
        "spectral_flatness": AudioFeature(compute=librosa_features.compute_spectral_flatness, count_values=_count_one),
        "spectral_contrast": AudioFeature(
            compute=librosa_features.compute_spectral_contrast,
            count_values=lambda params: librosa_features.count_contrast_bands(params) + 1,
            find_fault=_find_contrast_fault,
            unit="dB",
        ),
        "zero_crossing_rate": AudioFeature(
            compute=librosa_features.compute_zero_crossing_rate, count_values=_count_one, unit="per sample"
        ),
        "rms": AudioFeature(compute=librosa_features.compute_rms, count_values=_count_one, unit="full scale"),
        "f0": AudioFeature(compute=librosa_features.compute_f0, count_values=_count_one, unit="Hz"),
        "tempogram": AudioFeature(
            compute=librosa_features.compute_tempogram, count_values=lambda params: librosa_features.TEMPOGRAM_LAGS
        ),
        "cqt": AudioFeature(compute=librosa_features.compute_cqt, count_values=librosa_features.count_cqt_bins),
    },
    LazyObject("pipeline.modalities.audio.feature_table:AudioFeature"),
)
"""By the name of the field that a feature fills; a plugin fills the field of its name in its file."""
