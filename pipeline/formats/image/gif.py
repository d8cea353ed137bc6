"""Read the header of GIF files, check their blocks and strip metadata, without decoding a pixel.

After the header and the logical screen come blocks: extensions, and images made of a descriptor, a palette and coded
bytes in pieces of up to 255. GIF89a specification (CompuServe, 1990). Of an animation the first frame is kept.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.exif_orientation import UPRIGHT

_HEAD = 13
_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9  # of an extension: transparency of the image that follows
_PALETTE = 0x80
_DESCRIPTOR = 10


@dataclass(frozen=True, slots=True)
class GifHeader:
    """Size of the canvas in pixels, and channels: 3, or 4 where the first frame leaves pixels transparent."""

    width: int
    height: int
    channels: int


class _GifBlock(NamedTuple):
    """`data[start:end]`; `label` is that of an extension, else 0."""

    kind: int
    label: int
    start: int
    end: int


def read_header(data: bytes) -> GifHeader:
    """Return the header of the canvas; the blocks up to the first frame are read for its transparency alone.

    Raises:
        FormatFault: it is not a GIF file, has a side of no pixels, or a block of no kind that GIF has.
        Truncated: the file ends inside its header.
    """
    if len(data) < _HEAD:
        raise Truncated("ends inside the header")
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise FormatFault("no signature")
    width, height = struct.unpack_from("<HH", data, 6)
    if not (width and height):
        raise FormatFault("a side of no pixels")
    frame = _select_blocks(data)
    see_through = any(block.kind == _EXTENSION and data[block.start + 3] & 1 for block in frame)
    whole = any(
        block.kind == _IMAGE and struct.unpack_from("<HHHH", data, block.start + 1) == (0, 0, width, height)
        for block in frame
    )
    return GifHeader(width, height, 4 if see_through or (frame and not whole) else 3)


def read_orientation(data: bytes) -> int:
    """Return 1: GIF has no orientation."""
    return UPRIGHT


def check_whole(data: bytes) -> None:
    """Check that every block is complete, that there is a frame within the canvas, and a trailer.

    Raises:
        Truncated: the file ends before its trailer.
        FormatFault: no frame, or one beyond the canvas; or as `read_header`.
    """
    header = read_header(data)
    blocks = list(_walk_blocks(data))
    if not blocks or blocks[-1].kind != _TRAILER:
        raise Truncated("no trailer")
    image = next((block for block in blocks if block.kind == _IMAGE), None)
    if image is None:
        raise FormatFault("no frame")
    left, top, width, height = struct.unpack_from("<HHHH", data, image.start + 1)
    if not (width and height) or left + width > header.width or top + height > header.height:
        raise FormatFault("the first frame is empty, or lies beyond the canvas")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with its header, palette and first frame only: without comments, texts, what programs left,
    further frames and bytes after its end. It is the same object where nothing is removed.

    Raises:
        FormatFault: as `read_header`.
    """
    read_header(data)
    parts = [data[block.start : block.end] for block in _select_blocks(data)]
    stripped = data[: _find_blocks(data)] + b"".join(parts) + bytes([_TRAILER])
    return data if stripped == data else stripped


def _select_blocks(data: bytes) -> list[_GifBlock]:
    """Return the first frame, after the extension that says what of it is transparent."""
    control: list[_GifBlock] = []
    for block in _walk_blocks(data):
        if block.kind == _IMAGE:
            return [*control, block]
        if block.label == _CONTROL and block.end - block.start == 8:
            control = [block]
    return control


def _find_blocks(data: bytes) -> int:
    """Return where the blocks begin: after the palette, if there is one."""
    return _HEAD + _count_palette(data[10])


def _count_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _PALETTE else 0


def _walk_blocks(data: bytes) -> Iterator[_GifBlock]:
    """Yield the blocks up to the trailer, or as far as the bytes go.

    Raises:
        FormatFault: a block of no kind that GIF has.
    """
    at = _find_blocks(data)
    while at < len(data):
        kind, label = data[at], 0
        if kind == _TRAILER:
            yield _GifBlock(kind, 0, at, at + 1)
            return
        if kind == _EXTENSION and at + 2 <= len(data):
            label, pieces = data[at + 1], at + 2
        elif kind == _IMAGE and at + _DESCRIPTOR <= len(data):
            pieces = at + _DESCRIPTOR + _count_palette(data[at + 9]) + 1  # the size of the first codes
        elif kind in (_EXTENSION, _IMAGE):
            return
        else:
            raise FormatFault("a block of no kind that GIF has")
        end = _find_end(data, pieces)
        if end == 0:
            return
        yield _GifBlock(kind, label, at, end)
        at = end


def _find_end(data: bytes, at: int) -> int:
    """Return the end of a sequence of pieces, each after its length, up to one of length 0; 0 where it has none."""
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    return 0
