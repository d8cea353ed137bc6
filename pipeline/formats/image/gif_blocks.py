"""Walk the blocks of GIF files.

After the header and the logical screen come blocks: extensions, and images made of a descriptor, a palette and coded
bytes in pieces of up to 255. GIF89a specification (CompuServe, 1990).
"""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault

HEAD_SIZE = 13
EXTENSION, IMAGE, TRAILER = 0x21, 0x2C, 0x3B
_CONTROL = 0xF9  # of an extension: transparency and delay of the image that follows
_PALETTE = 0x80
_DESCRIPTOR = 10


class GifBlock(NamedTuple):
    """`data[start:end]`; `label` is that of an extension, else 0."""

    kind: int
    label: int
    start: int
    end: int


def is_control(block: GifBlock) -> bool:
    """Return whether a block says what of the image after it is transparent, how long it is shown, and what then."""
    return block.label == _CONTROL and block.end - block.start == 8


def find_blocks(data: bytes) -> int:
    """Return where the blocks begin: after the palette, if there is one."""
    return HEAD_SIZE + _count_palette(data[10])


def _count_palette(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & _PALETTE else 0


def walk_blocks(data: bytes) -> Iterator[GifBlock]:
    """Yield the blocks up to the trailer, or as far as the bytes go.

    Raises:
        FormatFault: a block of no kind that GIF has.
    """
    at = find_blocks(data)
    while at < len(data):
        kind, label = data[at], 0
        if kind == TRAILER:
            yield GifBlock(kind, 0, at, at + 1)
            return
        if kind == EXTENSION and at + 2 <= len(data):
            label, pieces = data[at + 1], at + 2
        elif kind == IMAGE and at + _DESCRIPTOR <= len(data):
            pieces = at + _DESCRIPTOR + _count_palette(data[at + 9]) + 1  # the size of the first codes
        elif kind in (EXTENSION, IMAGE):
            return
        else:
            raise FormatFault("a block of no kind that GIF has")
        end = _find_end(data, pieces)
        if end == 0:
            return
        yield GifBlock(kind, label, at, end)
        at = end


def _find_end(data: bytes, at: int) -> int:
    """Return the end of a sequence of pieces, each after its length, up to one of length 0; 0 where it has none."""
    while at < len(data):
        if data[at] == 0:
            return at + 1
        at += 1 + data[at]
    return 0
