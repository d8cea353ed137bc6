"""An audio feature: how much the peak of each frame stands out."""

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.clip import Clip
from pipeline.modalities.audio.feature_table import AudioFeature
from pipeline.modalities.audio.mel import cut_frames


def compute_crest(clip: Clip) -> NDArray[np.float32]:
    """Return the peak of each frame over its root mean square, float32 (frames, 1); 0 for silence."""
    frames = cut_frames(clip.samples, clip.framing)
    rms = np.sqrt(np.mean(np.square(frames), axis=1, keepdims=True))
    peak = np.abs(frames).max(axis=1, keepdims=True)
    crest: NDArray[np.float32] = np.divide(peak, rms, out=np.zeros_like(rms), where=rms > 0)
    return crest


CREST = AudioFeature(compute=compute_crest, count_values=lambda params: 1)
