"""Read the header of GIF files, check their blocks and strip metadata, without decoding a pixel.

Of an animation the first frame is kept; as a video it is parsed by `pipeline.formats.video.gif_animation`.
"""

import struct

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.gif_blocks import (
    EXTENSION,
    HEAD_SIZE,
    IMAGE,
    TRAILER,
    GifBlock,
    find_blocks,
    is_control,
    walk_blocks,
)
from pipeline.formats.image.image_header import ImageHeader
from shardwright.format.exif_orientation import UPRIGHT


def read_header(data: bytes) -> ImageHeader:
    """Return the header of the canvas; the blocks up to the first frame are read for its transparency alone. It has 4
    channels where the first frame leaves pixels transparent.

    Raises:
        FormatFault: it is not a GIF file, has a side of no pixels, or a block of no kind that GIF has.
        Truncated: the file ends inside its header.
    """
    if len(data) < HEAD_SIZE:
        raise Truncated("ends inside the header")
    if data[:6] not in (b"GIF87a", b"GIF89a"):
        raise FormatFault("no signature")
    width, height = struct.unpack_from("<HH", data, 6)
    if not (width and height):
        raise FormatFault("a side of no pixels")
    frame = _select_blocks(data)
    see_through = any(block.kind == EXTENSION and data[block.start + 3] & 1 for block in frame)
    whole = any(
        block.kind == IMAGE and struct.unpack_from("<HHHH", data, block.start + 1) == (0, 0, width, height)
        for block in frame
    )
    return ImageHeader(width, height, 4 if see_through or (frame and not whole) else 3)


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
    blocks = list(walk_blocks(data))
    if not blocks or blocks[-1].kind != TRAILER:
        raise Truncated("no trailer")
    image = next((block for block in blocks if block.kind == IMAGE), None)
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
    stripped = data[: find_blocks(data)] + b"".join(parts) + bytes([TRAILER])
    return data if stripped == data else stripped


def _select_blocks(data: bytes) -> list[GifBlock]:
    """Return the first frame, after the extension that says what of it is transparent."""
    control: list[GifBlock] = []
    for block in walk_blocks(data):
        if block.kind == IMAGE:
            return [*control, block]
        if is_control(block):
            control = [block]
    return control
