"""Read an animated GIF as a video: the frames with their times, all of them complete, without metadata.

GIF89a specification (CompuServe, 1990). The background colour of the header is ignored, as browsers ignore it: the
canvas is transparent before the first frame.
"""

import struct
from collections.abc import Iterator

from pipeline.formats.image import gif
from pipeline.formats.image.gif_blocks import IMAGE, TRAILER, GifBlock, find_blocks, is_control, walk_blocks
from pipeline.formats.video.animation import AnimationFrame, Disposal, find_seconds, summarize_frames
from pipeline.formats.video.header import VideoHeader

_DISPOSALS: dict[int, Disposal] = {2: "clear", 3: "restore"}
_PLAIN_TEXT = 0x01


def read_header(data: bytes) -> VideoHeader:
    """Return the size of the canvas, the number of frames, and the sum of their times.

    Raises:
        FormatFault: a frame is empty, or lies beyond the canvas; or as `gif.read_header`.
        Truncated: the file ends inside its header.
    """
    canvas = gif.read_header(data)
    return summarize_frames(canvas.width, canvas.height, walk_frames(data))


def check_whole(data: bytes) -> None:
    """Check that every block is complete, that all frames lie within the canvas, and that there is a trailer.

    Raises:
        Truncated: the file ends before its trailer.
        FormatFault: as `read_header`.
    """
    gif.check_whole(data)
    read_header(data)


def strip_metadata(data: bytes) -> bytes:
    """Return the file with its header, palette and frames only, without what says how often it is repeated. It is the
    same object where nothing is removed.

    Raises:
        FormatFault: as `read_header`.
    """
    gif.read_header(data)
    pieces = [data[block.start : block.end] for pair in _walk_images(data) for block in pair if block is not None]
    stripped = data[: find_blocks(data)] + b"".join(pieces) + bytes([TRAILER])
    return data if stripped == data else stripped


def walk_frames(data: bytes) -> Iterator[AnimationFrame]:
    """Yield the frames in their order, as far as the bytes go.

    Raises:
        FormatFault: a block of no kind that GIF has.
    """
    screen = data[10 : find_blocks(data)]
    for control, image in _walk_images(data):
        left, top, width, height = struct.unpack_from("<HHHH", data, image.start + 1)
        extension = data[control.start : control.end] if control else b""
        flags, delay = struct.unpack_from("<BH", extension, 3) if control else (0, 0)
        still = b"".join([
            b"GIF89a", struct.pack("<HH", width, height), screen, extension,
            struct.pack("<BHHHH", IMAGE, 0, 0, width, height), data[image.start + 9 : image.end], bytes([TRAILER]),
        ])  # fmt: skip
        disposal = _DISPOSALS.get(flags >> 2 & 7, "keep")
        yield AnimationFrame(left, top, width, height, find_seconds(delay / 100), disposal, True, still)


def _walk_images(data: bytes) -> Iterator[tuple[GifBlock | None, GifBlock]]:
    """Yield the images, each with the extension that says how it is shown."""
    control = None
    for block in walk_blocks(data):
        if block.kind == IMAGE:
            yield control, block
        if block.kind == IMAGE or block.label == _PLAIN_TEXT:
            control = None
        elif is_control(block):
            control = block
