"""Mel bands in decibels, and mel-frequency cepstral coefficients, as `librosa.power_to_db` and `librosa.feature.mfcc`
define them. Tests hold them to it, to 1e-3."""

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.mel import Framing, Samples, compute_energies
from pipeline.modalities.cosine_transform import make_cosines

FLOOR_DB = -100.0
"""Decibels that quieter bands are taken for: the `amin` of librosa's `power_to_db`, an energy of 1e-10."""

_FLOOR = np.float32(1e-10)
_DB_A_NEPER = np.float32(10 / np.log(10))
"""Of powers: NumPy's natural logarithm of float32 takes a quarter of the time of its `log10`."""
_RANGE_DB = np.float32(80)
"""Energies this far below the clip's loudest are taken for that: its `top_db`."""


def compute_logmel(samples: Samples, framing: Framing) -> NDArray[np.float32]:
    """Energies of the mel bands in decibels: float32 (frames, bands), the transpose of librosa's.

    They are clipped 80 below the clip's own loudest, so a clip must be whole: padding it first gives others.
    """
    decibels = _DB_A_NEPER * np.log(np.maximum(compute_energies(samples, framing), _FLOOR))
    logmel: NDArray[np.float32] = np.maximum(decibels, decibels.max() - _RANGE_DB)
    return logmel


def compute_mfcc(logmel: NDArray[np.float32], coefficients: int) -> NDArray[np.float32]:
    """MFCC of one clip of which `compute_logmel` has given the bands: float32 (frames, coefficients), the transpose of
    librosa's. The cosine transform is orthonormal.
    """
    # In single precision the sums of the transform alone are off by up to 1e-3, in double by the last digit kept.
    mfcc: NDArray[np.float64] = logmel.astype(np.float64) @ make_cosines(logmel.shape[1], coefficients).T
    return mfcc.astype(np.float32)
