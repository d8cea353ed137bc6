"""A PNG of an array, without any library for pictures.

The layout is that of the PNG specification (W3C, "Portable Network Graphics", second edition): a signature, then chunks
IHDR, IDAT (zlib over rows that each begin with their filter, here 0 for none) and IEND, each with its length and crc32.
"""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # grey, grey with alpha, RGB, RGBA, by the number of channels


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """The file's bytes.

    Args:
        pixels: uint8 (height, width) or (height, width, channels), channels 1 to 4: grey, grey and alpha, RGB, RGBA.

    Raises:
        ValueError: another dtype or shape.
    """
    if pixels.ndim == 2:
        pixels = pixels[:, :, None]
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in COLOUR_TYPES:
        raise ValueError(f"no picture: {pixels.dtype} {pixels.shape}")
    height, width, channels = pixels.shape
    rows = np.zeros((height, 1 + width * channels), np.uint8)
    rows[:, 1:] = pixels.reshape(height, -1)
    header = struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows.tobytes())), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_encode_chunk(kind, data) for kind, data in chunks)


def _encode_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
