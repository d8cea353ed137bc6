"""How loud a sound is, frame by frame. Tests hold it to librosa, to 1e-3."""

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.mel import Framing, Samples, cut_frames

FLOOR_DB = -100.0
"""Decibels that anything quieter is taken for: the `amin` of librosa's `amplitude_to_db`, 1e-5 of full scale."""

_FLOOR = np.float32(1e-10)  # the same as a power


def compute_loudness(samples: Samples, framing: Framing) -> NDArray[np.float32]:
    """Root mean square of each frame in decibels relative to full scale: float32 (frames, 1), dBFS.

    It is `20 · log10(max(rms, 1e-5))`, where `rms` is that of the frame's `framing.fft` samples, full scale is 1, and
    the clip has zeros before and after it: the transpose of librosa's `amplitude_to_db(rms(y, frame_length=fft,
    hop_length=hop, center=True, pad_mode="constant"), ref=1.0, amin=1e-5, top_db=None)`. So a square wave of full scale
    has 0 dB and a sine -3.01, where AES17 would add 3.01. No weighting by pitch, unlike the LUFS of ITU-R BS.1770.
    """
    frames = cut_frames(samples, framing)
    powers = np.einsum("fs,fs->f", frames, frames) / np.float32(framing.fft)
    loudness: NDArray[np.float32] = 10 * np.log10(np.maximum(powers, _FLOOR))
    return loudness[:, None]
