"""Hold one clip and what several of its features are computed from, each computed once."""

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.librosa_features import compute_magnitudes
from pipeline.modalities.audio.mel import Framing, Samples
from pipeline.modalities.audio.numpy_features import compute_logmel, compute_mfcc

if TYPE_CHECKING:
    from pipeline.modalities.audio.params import AudioFeatures


class Clip:
    """Samples at the rate of the params, and their shared intermediate results.

    Attributes:
        samples: one channel, float32 (samples,), at least one.
        params: of the features.
    """

    def __init__(self, samples: Samples, params: "AudioFeatures") -> None:
        self.samples = samples
        self.params = params

    @property
    def framing(self) -> Framing:
        """How the clip is cut into frames."""
        return self.params.framing

    @cached_property
    def logmel(self) -> NDArray[np.float32]:
        """Mel bands in dB: float32 (frames, mels)."""
        return compute_logmel(self.samples, self.framing)

    @cached_property
    def mfcc(self) -> NDArray[np.float32]:
        """MFCC: float32 (frames, coefficients)."""
        return compute_mfcc(self.logmel, self.params.coefficients)

    @cached_property
    def magnitudes(self) -> NDArray[np.float32]:
        """Magnitudes of the short-time Fourier transform: float32 (fft // 2 + 1, frames)."""
        return compute_magnitudes(self)
