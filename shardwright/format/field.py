"""A field: what one array of every sample is."""

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardwright.errors import FormatError
from shardwright.format import tar
from shardwright.format.image_header import MAX_JPEG_SIDE, check_jpeg
from shardwright.format.npy import encode_npy_header

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
)

SUFFIXES = {"npy": "npy", "jpeg": "jpg"}
"""By encoding, what follows the field in the names of its members: three letters."""

MAX_FILE_BYTES = 2**32 - 1
"""Of a member with a size of its own: the index has 32 bits for it."""

# 31 letters and a key of 64 make `<key>.<field>.npy` exactly the 100 bytes that a USTAR name holds.
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
RESERVED = {"meta": "the member with the sample's meta", "key": "the key in a batch", "valid": "a batch's mask"}


@dataclass(frozen=True)
class Field:
    """The dtype and shape that a field has in every sample.

    Args:
        dtype: one of `DTYPES`; stored little-endian.
        shape: of one sample, without the batch axis; `()` is a scalar. Every size is at least 1.
        axes: a letter an axis, such as "HWC", or "" where that says nothing.
        unit: of the values, such as "Hz"; free text.
        padding: the value that fills what is beyond `<field>_length` in a ragged field, or None.
        encoding: how a shard has the values: "npy", arrays that all have one size; or "jpeg", pictures as JPEG files,
            each of a size of its own, which decode to `dtype` uint8 and `shape` (height, width, 3), RGB.

    Raises:
        FormatError: one of them is not as said above; the message shows it.
    """

    dtype: str
    shape: tuple[int, ...]
    axes: str = ""
    unit: str = ""
    padding: int | float | bool | None = None
    encoding: str = "npy"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise FormatError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")
        object.__setattr__(self, "shape", _check_shape(self.shape))
        if self.axes and len(self.axes) != len(self.shape):
            raise FormatError(f"axes {self.axes!r} must have a letter for each of the axes of {self.shape}")
        if self.padding is not None:
            encode_scalar(self.dtype, self.padding)
        if self.encoding not in SUFFIXES:
            raise FormatError(f"encoding {self.encoding!r:.80} is not one of {', '.join(SUFFIXES)}")
        if self.encoding == "jpeg":
            _check_picture(self.dtype, self.shape)
        # The bytes first: a header cannot name sizes of thousands of digits.
        if self.nbytes > tar.MAX_MEMBER_BYTES or len(self.header) + self.nbytes > tar.MAX_MEMBER_BYTES:
            raise FormatError(f"an array {self.dtype} {self.shape!r:.80} is too large for a tar member")

    @cached_property
    def storage(self) -> np.dtype[Any]:
        """The dtype as stored: little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")

    @cached_property
    def nbytes(self) -> int:
        """Bytes of one array, without its header."""
        return self.storage.itemsize * math.prod(self.shape)

    @cached_property
    def varies(self) -> bool:
        """Whether each member of this field has a size of its own."""
        return self.encoding != "npy"

    @cached_property
    def suffix(self) -> str:
        """What the names of its members end with, after the field's own."""
        return SUFFIXES[self.encoding]

    @cached_property
    def header(self) -> bytes:
        """What all members of this field begin with: the NPY header; nothing, where they are files of their own."""
        return b"" if self.varies else encode_npy_header(self.storage, self.shape)

    def to_json(self) -> dict[str, Any]:
        """As the manifest has it: without `encoding` where that is "npy", which is all that version 1 knows."""
        return {name: value for name, value in asdict(self).items() if name != "encoding" or self.varies}

    def encode(self, value: object) -> bytes:
        """The content of a member, once it is seen that the value is what the field says: its `header` and its bytes.

        A Python bool, int or float stands for an array of shape `()` where the dtype holds it exactly. A field of
        JPEG files takes the bytes of a file, as they are.

        Raises:
            FormatError: another dtype or shape, or a float that is NaN or infinite; no JPEG file, or one of another
                size by its header.
        """
        if self.varies:
            return _check_file(value, self.shape)
        if isinstance(value, bool | int | float) and not isinstance(value, np.generic):
            array = encode_scalar(self.dtype, value)
        elif isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
        else:
            raise FormatError(f"a NumPy array is wanted, this is {type(value).__name__}")
        if array.dtype.newbyteorder("=") != np.dtype(self.dtype):
            raise FormatError(f"dtype {array.dtype}, the field says {self.dtype}")
        if array.shape != self.shape:
            raise FormatError(f"shape {array.shape}, the field says {self.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FormatError(f"{np.count_nonzero(~np.isfinite(array))} values are NaN or infinite")
        return b"".join((self.header, np.ascontiguousarray(array, self.storage).data))  # in one copy


def check_fields(fields: Mapping[str, Field]) -> dict[str, Field]:
    """The fields in their order, after a check of their names.

    Raises:
        FormatError: there is none, or a name is not a lower-case word of 31 letters at most or is reserved.
    """
    if not fields:
        raise FormatError("a dataset needs at least one field")
    for name, field in fields.items():
        if not NAME.fullmatch(name):
            raise FormatError(f"field name {name!r} must match {NAME.pattern}")
        if name in RESERVED:
            raise FormatError(f"field name {name!r} is taken: {RESERVED[name]}")
        if not isinstance(field, Field):
            raise FormatError(f"field {name!r} must be a Field, this is {type(field).__name__}")
    return dict(fields)


def encode_scalar(dtype: str, value: bool | int | float) -> NDArray[Any]:
    """The number as an array of shape `()`.

    Raises:
        FormatError: the dtype does not hold the number: a fraction or too large for an integer, a number
            for a bool, a bool for a number. Floats are rounded to the nearest, as always.
    """
    kind = np.dtype(dtype).kind
    fits = {"b": isinstance(value, bool), "f": not isinstance(value, bool)}
    if not fits.get(kind, isinstance(value, int) and not isinstance(value, bool)):
        raise FormatError(f"{value!r} is not a value of {dtype}")
    if kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise FormatError(f"{value!r} is outside the range of {dtype}")
    with np.errstate(over="ignore"):
        try:
            array = np.array(value, dtype=dtype)
        except OverflowError as error:
            raise FormatError(f"{value!r:.80} is outside the range of {dtype}") from error
    if kind == "f" and not np.isfinite(array):
        raise FormatError(f"{value!r} is not a finite {dtype}")
    return array


def _check_file(value: object, shape: tuple[int, ...]) -> bytes:
    if not isinstance(value, bytes):
        raise FormatError(f"bytes of a JPEG file are wanted, see encode_jpeg; this is {type(value).__name__}")
    if len(value) > MAX_FILE_BYTES:
        raise FormatError(f"a file of {len(value)} bytes, {MAX_FILE_BYTES} are allowed")
    try:
        check_jpeg(value, shape)
    except ValueError as error:
        raise FormatError(str(error)) from error
    return value


def _check_picture(dtype: str, shape: tuple[int, ...]) -> None:
    if dtype != "uint8" or len(shape) != 3 or shape[2] != 3 or max(shape) > MAX_JPEG_SIDE:
        raise FormatError(
            f"JPEG files decode to uint8 (height, width, 3) with sides up to {MAX_JPEG_SIDE}, not {dtype} {shape!r:.80}"
        )


def _check_shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list):
        raise FormatError(f"shape {shape!r} must be a tuple of sizes")
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in shape):
        raise FormatError(f"shape {shape!r:.80}: every size must be an int of at least 1")
    if len(shape) > 16:  # the header must stay far under the 64 kB that NPY 1.0 can name
        raise FormatError(f"shape {shape!r:.80} has {len(shape)} axes, 16 are allowed")
    return tuple(shape)
