"""SplitMix64 (Steele, Lea and Flood 2014, "Fast splittable pseudorandom number generators"), of many states at once.

Number n of the stream that begins at `start` is `mix(start + n × GOLDEN)`: each is computed without those before it.
"""

import numpy as np
from numpy.typing import NDArray

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""The increment: 2⁶⁴ divided by the golden ratio, made odd."""


def mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return the output function, figure 17, of each state."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def to_uniform(numbers: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Return the upper 53 bits of each number as one in [0, 1)."""
    return (numbers >> np.uint64(11)).astype(np.float64) * 2.0**-53
