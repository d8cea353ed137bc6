"""Describe a field, one array of every sample, and encode its values."""

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
"""The ending of the members' names, three letters, by encoding."""

MAX_FILE_BYTES = 2**32 - 1
"""Of a member that varies in size: the index has 32 bits for it."""

# With 31 letters and a key of 64, `<key>.<field>.npy` has exactly the 100 bytes of a USTAR name.
NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
RESERVED = {"meta": "the member with the sample's meta", "key": "the key in a batch", "valid": "a batch's mask"}


@dataclass(frozen=True)
class Field:
    """The dtype and shape of a field in every sample.

    Args:
        dtype: one of `DTYPES`; stored little-endian.
        shape: of one sample, without the batch axis; `()` is a scalar. Every size is at least 1.
        axes: a letter an axis, such as "HWC", or "".
        unit: of the values, such as "Hz"; free text.
        padding: the value that fills a ragged field beyond `<field>_length`, or None.
        encoding: of the values in a shard: "npy", arrays that all have one size; or "jpeg", JPEG files of varying size,
            which decode to `dtype` uint8 and `shape` (height, width, 3), RGB.

    Raises:
        FormatError: an argument is not allowed; the message shows it.
    """

    dtype: str
    shape: tuple[int, ...]
    axes: str = ""
    unit: str = ""
    padding: int | float | bool | None = None
    encoding: str = "npy"

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise FormatError(f"dtype is {self.dtype!r}; it must be one of {', '.join(DTYPES)}")
        object.__setattr__(self, "shape", _check_shape(self.shape))
        if self.axes and len(self.axes) != len(self.shape):
            raise FormatError(f"axes is {self.axes!r}; it must have a letter for each axis of {self.shape}")
        if self.padding is not None:
            encode_scalar(self.dtype, self.padding)
        if self.encoding not in SUFFIXES:
            raise FormatError(f"encoding is {self.encoding!r:.80}; it must be one of {', '.join(SUFFIXES)}")
        if self.encoding == "jpeg":
            _check_image(self.dtype, self.shape)
        # The bytes first: a header has no room for sizes of thousands of digits.
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
        """Whether the size of this field's members differs between samples."""
        return self.encoding != "npy"

    @cached_property
    def suffix(self) -> str:
        """The ending of its members' names, after the field's own."""
        return SUFFIXES[self.encoding]

    @cached_property
    def header(self) -> bytes:
        """The first bytes of every member of this field: the NPY header, or nothing where they are JPEG files."""
        return b"" if self.varies else encode_npy_header(self.storage, self.shape)

    def to_json(self) -> dict[str, Any]:
        """Return the field as JSON for the manifest, without the encoding "npy", which is the only one of version 1."""
        return {name: value for name, value in asdict(self).items() if name != "encoding" or self.varies}

    def encode(self, value: object) -> bytes:
        """Check a value and return the content of its member, `header` and bytes.

        Args:
            value: an array of the field's dtype and shape; for shape `()` also a Python bool, int or float, where the
                dtype holds it exactly; for a field of JPEG files the bytes of a file, which are stored unchanged.

        Raises:
            FormatError: another dtype or shape, or a float that is NaN or infinite; not a JPEG file, or one whose
                header has another size.
        """
        if self.varies:
            return _check_file(value, self.shape)
        if isinstance(value, bool | int | float) and not isinstance(value, np.generic):
            array = encode_scalar(self.dtype, value)
        elif isinstance(value, np.ndarray | np.generic):
            array = np.asarray(value)
        else:
            raise FormatError(f"the value is a {type(value).__name__}; it must be a NumPy array")
        if array.dtype.newbyteorder("=") != np.dtype(self.dtype):
            raise FormatError(f"dtype is {array.dtype}; it must be {self.dtype}")
        if array.shape != self.shape:
            raise FormatError(f"shape is {array.shape}; it must be {self.shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise FormatError(f"{np.count_nonzero(~np.isfinite(array))} values are NaN or infinite; all must be finite")
        return b"".join((self.header, np.ascontiguousarray(array, self.storage).data))  # copies once


def check_fields(fields: Mapping[str, Field]) -> dict[str, Field]:
    """Check the names of fields and return the fields in their order.

    Raises:
        FormatError: there are none, or a name does not match `NAME` or is reserved.
    """
    if not fields:
        raise FormatError("a dataset needs at least one field")
    for name, field in fields.items():
        if not NAME.fullmatch(name):
            raise FormatError(f"field name {name!r} must match {NAME.pattern}")
        if name in RESERVED:
            raise FormatError(f"field name {name!r} is reserved for {RESERVED[name]}; choose another")
        if not isinstance(field, Field):
            raise FormatError(f"field {name!r} is a {type(field).__name__}; it must be a Field")
    return dict(fields)


def encode_scalar(dtype: str, value: bool | int | float) -> NDArray[Any]:
    """Return a number as an array of shape `()`; floats are rounded to the nearest.

    Raises:
        FormatError: the dtype does not hold the number: a fraction or too large for an integer, a number for a bool, a
            bool for a number.
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
        raise FormatError(
            f"the value is a {type(value).__name__}; it must be the bytes of a JPEG file, see encode_jpeg"
        )
    if len(value) > MAX_FILE_BYTES:
        raise FormatError(f"the file has {len(value)} bytes; it must have at most {MAX_FILE_BYTES}")
    try:
        check_jpeg(value, shape)
    except ValueError as error:
        raise FormatError(str(error)) from error
    return value


def _check_image(dtype: str, shape: tuple[int, ...]) -> None:
    if dtype != "uint8" or len(shape) != 3 or shape[2] != 3 or max(shape) > MAX_JPEG_SIDE:
        raise FormatError(
            f"a field with encoding 'jpeg' is {dtype} {shape!r:.80}; it must be uint8 (height, width, 3) with sides of "
            f"at most {MAX_JPEG_SIDE}"
        )


def _check_shape(shape: object) -> tuple[int, ...]:
    if not isinstance(shape, tuple | list):
        raise FormatError(f"shape is {shape!r}; it must be a tuple of sizes")
    if any(isinstance(size, bool) or not isinstance(size, int) or size < 1 for size in shape):
        raise FormatError(f"shape is {shape!r:.80}; every size must be an int of at least 1")
    if len(shape) > 16:  # the header must stay far below the 64 kB of NPY 1.0
        raise FormatError(f"shape is {shape!r:.80}, with {len(shape)} axes; it must have at most 16")
    return tuple(shape)
