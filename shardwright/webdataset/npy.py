"""Parse NPY files of unknown origin: with limits on the header, and without object arrays, so without pickle.

The layout is that of the NumPy documentation, `numpy.lib.format`. `numpy.load` is not used, as it allocates as many
values as the header declares before it checks that they exist.
"""

import ast
import math
import re
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # as in numpy.load: a longer text can crash Python's literal parser
LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""Bytes of the header's length field, by major version."""

PLAIN = re.compile(
    r"\{\s*'descr'\s*:\s*'([<>|=]?[?a-zA-Z][0-9]{0,9})'\s*,"
    r"\s*'fortran_order'\s*:\s*(True|False)\s*,"
    r"\s*'shape'\s*:\s*\((\s*|(?:\s*[0-9]{1,19}L?\s*,)+(?:\s*[0-9]{1,19}L?)?\s*)\)\s*,?\s*\}\s*"
)
"""The header that writers use for arrays of numbers; Python 2 wrote an L after long numbers."""
PARSING = threading.Lock()
PARSE_TRIES = 5


@dataclass(frozen=True)
class NpyHeader:
    """A parsed NPY header.

    Attributes:
        dtype: as stored, in either byte order.
        shape: of the array; `()` for a scalar.
        fortran: whether the first axis varies fastest.
        start: offset of the values, bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Size of the values, bytes."""
        return self.dtype.itemsize * math.prod(self.shape)


def parse_npy_header(data: bytes) -> NpyHeader:
    """Parse the header at the start of `data`.

    Raises:
        ValueError: there is none, or its dtype is of Python objects, which are never unpickled.
    """
    if not data.startswith(MAGIC) or len(data) < 8:
        raise ValueError("it is not an NPY file")
    width = LENGTH_BYTES.get(data[6])
    if width is None:
        raise ValueError(f"its NPY version is {data[6]}.{data[7]}; it must be 1, 2 or 3")
    start = 8 + width
    end = start + int.from_bytes(data[8:start], "little")
    if end > len(data) or end - start > MAX_HEADER_BYTES:
        raise ValueError(
            f"its NPY header has {end - start} bytes; it must end in the file and have at most {MAX_HEADER_BYTES}"
        )
    dtype, shape, fortran = _parse_text(data[start:end].decode("utf-8" if data[6] == 3 else "latin-1"))
    return NpyHeader(dtype, shape, fortran, end)


def decode_npy(data: bytes) -> NDArray[Any]:
    """Decode an NPY file to an array in fresh memory, in native byte order.

    Raises:
        ValueError: it is not an NPY file, its size does not match its header, or it contains Python objects.
    """
    header = parse_npy_header(data)
    if len(data) - header.start != header.nbytes:
        raise ValueError(f"it has {len(data) - header.start} bytes of values; its header declares {header.nbytes}")
    flat = np.frombuffer(data, header.dtype, offset=header.start) if header.nbytes else np.empty(0, header.dtype)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return array.astype(header.dtype.newbyteorder("="), order="K")


def _parse_text(text: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    document = _read_plain(text) or _read_literal(text)
    if not isinstance(document, dict) or document.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("its NPY header must have exactly descr, fortran_order and shape")
    shape, fortran = document["shape"], document["fortran_order"]
    if not isinstance(shape, tuple) or any(type(size) is not int or size < 0 for size in shape) or len(shape) > 32:
        raise ValueError(f"its NPY header has the shape {shape!r:.80}; it must be a tuple of at most 32 ints from 0")
    if not isinstance(fortran, bool):
        raise ValueError(f"its NPY header has fortran_order {fortran!r:.80}; it must be a bool")
    try:
        dtype = np.lib.format.descr_to_dtype(document["descr"])
    except Exception as error:  # NumPy raises any type of exception for a malformed dtype
        raise ValueError(f"its NPY header has the unknown dtype {document['descr']!r:.80}") from error
    if dtype.hasobject:
        raise ValueError("it is an array of Python objects; unpickling it would run code from the file")
    if not dtype.itemsize:
        raise ValueError(f"its NPY header has the dtype {document['descr']!r:.80}, whose values have no bytes")
    return dtype, shape, fortran


def _read_plain(text: str) -> dict[str, Any] | None:
    """Parse the usual header of an array of numbers; None if it has another form."""
    found = PLAIN.fullmatch(text)
    if not found:
        return None
    shape = tuple(int(size.strip().rstrip("L")) for size in found[3].split(",") if size.strip())
    return {"descr": found[1], "fortran_order": found[2] == "True", "shape": shape}


def _read_literal(text: str) -> Any:
    # CPython's parser, as of 3.11.7, sometimes raises SystemError when two threads parse at once.
    for _ in range(PARSE_TRIES):
        with PARSING:
            try:
                return ast.literal_eval(text.strip())
            except SystemError:
                continue
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                raise ValueError("its NPY header is not a Python literal") from error
    raise ValueError("its NPY header cannot be parsed by Python")
