"""Walk the boxes of the ISO base media file format: a size, a name and a content, which may be boxes again.

ISO/IEC 14496-12, section 4.2; Apple's QuickTime File Format for older files.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault, Truncated


class Box(NamedTuple):
    """`data[start:end]`, its content from `body` on."""

    name: bytes
    start: int
    body: int
    end: int


def walk_boxes(data: bytes, at: int, end: int) -> Iterator[Box]:
    """Yield the boxes between two offsets.

    Raises:
        Truncated: one is longer than the file.
        FormatFault: one is longer than the box around it, or shorter than its own head.
    """
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        stop = end if size == 0 else at + size
        if stop > len(data):
            raise Truncated("ends inside a box")
        if stop < at + head or stop > end:
            raise FormatFault("a box is longer than the one around it, or shorter than its head")
        yield Box(name, at, at + head, stop)
        at = stop
    if at < end and end == len(data):
        raise Truncated("ends inside the head of a box")


def find_box(data: bytes, box: Box, *path: bytes) -> Box | None:
    """Return the first box at a path of names below `box`, or None.

    Raises: what `walk_boxes` raises.
    """
    for name in path:
        found = next((child for child in walk_boxes(data, box.body, box.end) if child.name == name), None)
        if found is None:
            return None
        box = found
    return box


def free_box(box: Box) -> Iterator[tuple[int, bytes]]:
    """Yield the edits that make a box free space; its size stays, however it is written."""
    yield box.start + 4, b"free"
    yield box.body, bytes(box.end - box.body)


def read_fields(form: str, data: bytes, box: Box, at: int) -> tuple[int, ...]:
    """Return numbers of a box, from `at` bytes into its content on.

    Raises:
        FormatFault: it is too short.
    """
    if box.body + at + struct.calcsize(form) > box.end:
        raise FormatFault(f"the box {box.name.decode('latin-1')} is too short")
    return struct.unpack_from(form, data, box.body + at)


def read_table(data: bytes, box: Box, at: int, count: int, kind: str = ">u4") -> NDArray[np.int64]:
    """Return `count` numbers of a NumPy type of a box, from `at` bytes into its content on, int64 (count,).

    Raises:
        FormatFault: it is too short.
    """
    if box.body + at + count * int(kind[2]) > box.end:
        raise FormatFault(f"the box {box.name.decode('latin-1')} is too short")
    return np.frombuffer(data, kind, count, box.body + at).astype(np.int64)
