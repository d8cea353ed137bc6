"""Define a block of decoded audio, and what decoding may run into."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Hz. Below, nothing can be recognised; above there is no converter on sale: such headers are wrong."""


class Block(NamedTuple):
    """Samples that follow each other, float32 (frames, channels), full scale ±1, their rate in Hz, and the number of
    the first of them from the recording's start."""

    samples: NDArray[np.float32]
    rate: int
    start: int


class UndecodableError(ValueError):
    """The decoder cannot read the file. Its own message is left out: it may hold memory addresses."""
