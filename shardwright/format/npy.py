"""Encode NPY headers, version 1.0, to the same bytes with any version of NumPy.

The layout is that of the NumPy documentation, `numpy.lib.format`: magic, version, header length, a Python literal that
describes the array, spaces and a newline. NumPy pads to a multiple of 64 bytes and leaves spare room, which has changed
between releases; here the header has 128 bytes (where its text fits), so that the data of a header that starts at a
multiple of 64 starts at one too.
"""

import struct

import numpy as np
from numpy.typing import DTypeLike

MAGIC = b"\x93NUMPY\x01\x00"
ALIGNMENT = 64
MIN_HEADER_BYTES = 128


def encode_npy_header(dtype: DTypeLike, shape: tuple[int, ...]) -> bytes:
    """Return the bytes that precede the data of a C-ordered array of this dtype and shape."""
    description = np.lib.format.dtype_to_descr(np.dtype(dtype))
    text = f"{{'descr': {description!r}, 'fortran_order': False, 'shape': {shape!r}, }}".encode()
    start = len(MAGIC) + 2
    total = max(MIN_HEADER_BYTES, start + len(text) + 1)
    total += -total % ALIGNMENT
    return MAGIC + struct.pack("<H", total - start) + text.ljust(total - start - 1) + b"\n"
