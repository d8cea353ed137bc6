"""List the audio features that `extract.audio.features` may name.

To add one: its row here, with the function that computes it from a clip.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.clip import Clip
from pipeline.modalities.audio.numpy_features import FLOOR_DB, compute_delta, compute_loudness

if TYPE_CHECKING:
    from pipeline.modalities.audio.params import AudioFeatures


@dataclass(frozen=True, kw_only=True)
class AudioFeature:
    """A feature with some values per frame.

    Attributes:
        compute: returns the feature of a clip, float (frames, values): as many frames as `clip.framing` counts.
        count_values: returns the values per frame.
        unit: of the values; empty where they have none.
        padding: what follows the last frame of a clip: where values are levels, the lowest.
    """

    compute: Callable[[Clip], NDArray[np.floating]]
    count_values: Callable[["AudioFeatures"], int]
    unit: str = ""
    padding: float = 0.0


def _count_coefficients(params: "AudioFeatures") -> int:
    return params.coefficients


AUDIO_FEATURES: Mapping[str, AudioFeature] = {
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
        count_values=lambda params: 1,
        unit="dBFS",
        padding=FLOOR_DB,
    ),
}
"""By the name of the field that a feature fills."""
