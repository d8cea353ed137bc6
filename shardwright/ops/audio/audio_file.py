"""Define what an open audio file gives."""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]
"""float32 (frames, channels), full scale ±1; of one channel after mixing (frames,)."""


class AudioFile(Protocol):
    """An open file: its header was read, and no sample was decoded that need not be.

    Attributes:
        rate: Hz.
        channels: at least 1.
        frames: samples of a channel.
        doubt: why the file may have been cut, or None.
    """

    rate: int
    channels: int
    frames: int
    doubt: str | None

    def read(self, start: int, stop: int) -> Samples:
        """Return the frames from `start` up to `stop`, which is at most `frames`: float32 (stop - start, channels).

        Raises:
            ValueError: they cannot be decoded, or there are fewer than the header declares.
        """


class DecodedAudio:
    """A recording that had to be decoded whole, because nothing says where its samples are; see `AudioFile`.

    Args:
        samples: float32 (frames, channels).
        rate: Hz.
    """

    doubt: str | None = None

    def __init__(self, samples: Samples, rate: int) -> None:
        self.rate = rate
        self.frames, self.channels = samples.shape
        self._samples = samples

    def read(self, start: int, stop: int) -> Samples:
        """See `AudioFile.read`."""
        return self._samples[start:stop]


def check_size(frames: int, channels: int, max_values: int) -> None:
    """Check what a header declares.

    Raises:
        ValueError: it is more than allowed.
    """
    if frames * channels > max_values:
        raise ValueError(f"it has {frames} frames of {channels} channels; max_values allows {max_values} values")
