"""Checksums of the same text with more padding: so that metas of two shards are compared without reading either."""

import zlib

import numpy as np
from numpy.typing import NDArray


def append_spaces(crc32s: NDArray[np.uint32], count: int) -> NDArray[np.uint32]:
    """From the crc32 of some bytes, uint32 (n,), that of the same bytes with `count` spaces behind them.

    What is appended changes a crc32 by a map that is linear over bits but for a constant (zlib's own `crc32_combine`
    stands on it), so the map of 33 values gives that of all.
    """
    spaces = b" " * count
    constant = zlib.crc32(spaces, 0)
    mapped = np.full(len(crc32s), constant, np.uint32)
    for bit in range(32):
        image = zlib.crc32(spaces, 1 << bit) ^ constant
        mapped ^= np.where(crc32s >> np.uint32(bit) & np.uint32(1), np.uint32(image), np.uint32(0))
    return mapped
