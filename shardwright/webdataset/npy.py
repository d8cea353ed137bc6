"""NPY files that others wrote: the header parsed with limits, and never an object, so never a pickle.

The layout is that of the NumPy documentation, `numpy.lib.format`. `numpy.load` makes room for as many values as the
header claims before it looks whether they are there.
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
MAX_HEADER_BYTES = 10_000  # as in numpy.load: a longer text can crash the parser of Python's literals
LENGTH_BYTES = {1: 2, 2: 4, 3: 4}
"""Bytes of the header's length, by the major version."""

PLAIN = re.compile(
    r"\{\s*'descr'\s*:\s*'([<>|=]?[?a-zA-Z][0-9]{0,9})'\s*,"
    r"\s*'fortran_order'\s*:\s*(True|False)\s*,"
    r"\s*'shape'\s*:\s*\((\s*|(?:\s*[0-9]{1,19}L?\s*,)+(?:\s*[0-9]{1,19}L?)?\s*)\)\s*,?\s*\}\s*"
)
"""The header as writers have it for arrays of numbers; Python 2 left an L behind long numbers."""
PARSING = threading.Lock()
PARSE_TRIES = 5


@dataclass(frozen=True)
class NpyHeader:
    """What an NPY header says.

    Attributes:
        dtype: as stored, in either byte order.
        shape: of the array; `()` for a scalar.
        fortran: whether the first axis runs fastest.
        start: where the values start, bytes.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    fortran: bool
    start: int

    @property
    def nbytes(self) -> int:
        """Bytes of the values."""
        return self.dtype.itemsize * math.prod(self.shape)


def parse_npy_header(data: bytes) -> NpyHeader:
    """The header that these bytes start with.

    Raises:
        ValueError: there is none, or it describes Python objects, which nobody unpickles here.
    """
    if not data.startswith(MAGIC) or len(data) < 8:
        raise ValueError("not an NPY file")
    width = LENGTH_BYTES.get(data[6])
    if width is None:
        raise ValueError(f"NPY version {data[6]}.{data[7]} is unknown")
    start = 8 + width
    end = start + int.from_bytes(data[8:start], "little")
    if end > len(data) or end - start > MAX_HEADER_BYTES:
        raise ValueError(f"an NPY header of {end - start} bytes")
    dtype, shape, fortran = _parse_text(data[start:end].decode("utf-8" if data[6] == 3 else "latin-1"))
    return NpyHeader(dtype, shape, fortran, end)


def decode_npy(data: bytes) -> NDArray[Any]:
    """The array in an NPY file, in memory of its own and in the machine's byte order.

    Raises:
        ValueError: it is none, its size is not what its header says, or it holds Python objects.
    """
    header = parse_npy_header(data)
    if len(data) - header.start != header.nbytes:
        raise ValueError(f"{len(data) - header.start} bytes of values, its header says {header.nbytes}")
    flat = np.frombuffer(data, header.dtype, offset=header.start) if header.nbytes else np.empty(0, header.dtype)
    array = flat.reshape(header.shape, order="F" if header.fortran else "C")
    return array.astype(header.dtype.newbyteorder("="), order="K")


def _parse_text(text: str) -> tuple[np.dtype[Any], tuple[int, ...], bool]:
    document = _read_plain(text) or _read_literal(text)
    if not isinstance(document, dict) or document.keys() != {"descr", "fortran_order", "shape"}:
        raise ValueError("an NPY header that does not say descr, fortran_order and shape")
    shape, fortran = document["shape"], document["fortran_order"]
    if not isinstance(shape, tuple) or any(type(size) is not int or size < 0 for size in shape) or len(shape) > 32:
        raise ValueError(f"an NPY header with the shape {shape!r:.80}")
    if not isinstance(fortran, bool):
        raise ValueError(f"an NPY header with fortran_order {fortran!r:.80}")
    try:
        dtype = np.lib.format.descr_to_dtype(document["descr"])
    except Exception as error:  # NumPy raises whatever the text makes it stumble over
        raise ValueError(f"an NPY header with the dtype {document['descr']!r:.80}") from error
    if dtype.hasobject:
        raise ValueError("an array of Python objects; unpickling it would run code of its writer")
    if not dtype.itemsize:
        raise ValueError(f"an NPY header with the dtype {document['descr']!r:.80}, which has no values")
    return dtype, shape, fortran


def _read_plain(text: str) -> dict[str, Any] | None:
    """The header as all writers have it for an array of numbers, or None where it is another."""
    found = PLAIN.fullmatch(text)
    if not found:
        return None
    shape = tuple(int(size.strip().rstrip("L")) for size in found[3].split(",") if size.strip())
    return {"descr": found[1], "fortran_order": found[2] == "True", "shape": shape}


def _read_literal(text: str) -> Any:
    # CPython's parser, as of 3.11.7, now and then fails with a SystemError where two threads parse at once.
    for _ in range(PARSE_TRIES):
        with PARSING:
            try:
                return ast.literal_eval(text.strip())
            except SystemError:
                continue
            except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
                raise ValueError("an NPY header that is no Python literal") from error
    raise ValueError("an NPY header that Python cannot parse")
