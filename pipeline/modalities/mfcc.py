"""Mel-frequency cepstral coefficients as `librosa.feature.mfcc` defines them. Tests hold them to it, to 1e-3."""

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.cosines import make_cosines
from pipeline.modalities.mel import Framing, Samples, compute_energies

_FLOOR = np.float32(1e-10)
"""Energies below are taken for this: the `amin` of librosa's `power_to_db`."""
_RANGE_DB = np.float32(80)
"""Energies this far below the clip's loudest are taken for that: its `top_db`."""


def compute_mfcc(samples: Samples, framing: Framing, coefficients: int) -> NDArray[np.float32]:
    """MFCC of one clip: float32 (frames, coefficients), the transpose of librosa's.

    Decibels are clipped 80 below the clip's own loudest, so a clip must be whole: padding it first gives others. The
    cosine transform is orthonormal.
    """
    energies = compute_energies(samples, framing)
    decibels = 10 * np.log10(np.maximum(energies, _FLOOR))
    decibels = np.maximum(decibels, decibels.max() - _RANGE_DB)
    # In single precision the sums of the transform alone are off by up to 1e-3, in double by the last digit kept.
    mfcc: NDArray[np.float64] = decibels.astype(np.float64) @ make_cosines(framing.bands, coefficients).T
    return mfcc.astype(np.float32)
