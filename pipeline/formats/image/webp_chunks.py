"""Walk the chunks of WebP files.

RIFF is a sequence of chunks: name, length, content, and a zero where the length is odd. RFC 9649, sections 2 and 3;
RFC 6386, section 9.1, for the size of a lossy frame.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.icc_profile import blank_texts
from pipeline.formats.image.image_header import ImageHeader

EXTENDED, LOSSY, LOSSLESS, FRAME = b"VP8X", b"VP8 ", b"VP8L", b"ANMF"
PIXELS = (LOSSY, LOSSLESS)
_KEPT = (b"ICCP", b"ANIM", b"ALPH", *PIXELS, FRAME)
"""Chunks that decide how pixels look. All others say who took the image, where and with what."""
_ANIMATED, ALPHA, _PROFILE = 0x02, 0x10, 0x20  # flags of the extended header
EXTENDED_SIZE = 10
FRAME_HEAD = 16  # place, size, duration and flags of a frame, before its chunks


class WebpChunk(NamedTuple):
    """`data[start:end]` is name, length and content, `body` where the content begins."""

    name: bytes
    start: int
    body: int
    end: int


def read_24_bits(data: bytes, at: int) -> int:
    """Return a number of three bytes."""
    return int.from_bytes(data[at : at + 3], "little")


def read_end(data: bytes) -> int:
    """Return where the file ends by its own header."""
    if len(data) < 12:
        raise Truncated("ends inside the RIFF header")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise FormatFault("not RIFF, or not WebP")
    return int(struct.unpack_from("<I", data, 4)[0]) + 8


def walk_chunks(data: bytes, at: int, end: int) -> Iterator[WebpChunk]:
    """Yield the chunks between two offsets, as far as the bytes go.

    Raises:
        FormatFault: one is longer than what is around it.
    """
    while at + 8 <= min(end, len(data)):
        name, size = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + size
        if stop > end:
            raise FormatFault("a chunk is longer than what is around it")
        yield WebpChunk(name, at, at + 8, stop)
        at = stop + size % 2


def check_frame(data: bytes, frame: WebpChunk, canvas: tuple[int, int]) -> None:
    """Check that a frame of an animation lies within the canvas, width and height, and has pixels of its size.

    Raises:
        FormatFault: it does not.
        Truncated: the file ends inside it.
    """
    left, top, width, height = read_place(data, frame)
    if left + width > canvas[0] or top + height > canvas[1]:
        raise FormatFault("a frame lies beyond the canvas")
    check_pixels(data, frame.body + FRAME_HEAD, frame.end, (width, height))


def read_place(data: bytes, frame: WebpChunk) -> tuple[int, int, int, int]:
    """Return the left, top, width and height of a frame, in pixels of the canvas.

    Raises:
        FormatFault: it is too short.
    """
    if frame.end - frame.body < FRAME_HEAD:
        raise FormatFault("a frame is too short")
    left, top, width, height = (read_24_bits(data, frame.body + at) for at in (0, 3, 6, 9))
    return 2 * left, 2 * top, width + 1, height + 1


def check_pixels(data: bytes, at: int, end: int, size: tuple[int, int]) -> None:
    """Check that there are pixels between two offsets, of that width and height.

    Raises:
        FormatFault: there are none, or of another size.
        Truncated: the file ends inside their header.
    """
    pixels = next((chunk for chunk in walk_chunks(data, at, end) if chunk.name in PIXELS), None)
    if pixels is None:
        raise FormatFault("no pixels")
    found = read_pixels(data, pixels)
    if (found.width, found.height) != size:
        raise FormatFault("the pixels have another size than the header says")


def encode_file(data: bytes, kept: list[WebpChunk]) -> bytes:
    """Return a file of these chunks, without what other chunks the headers mention."""
    names = {chunk.name for chunk in kept}
    return join_chunks([_encode_chunk(data, chunk, names) for chunk in kept])


def join_chunks(chunks: list[bytes]) -> bytes:
    """Return a file of encoded chunks."""
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def encode_chunk(name: bytes, content: bytes) -> bytes:
    """Return the bytes of a chunk."""
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def select_chunks(data: bytes, at: int, end: int) -> Iterator[WebpChunk]:
    """Yield the extended header, and the first of each kind of chunk that is kept, up to the first pixels."""
    passed: set[bytes] = set()
    for chunk in walk_chunks(data, at, end):
        if chunk.name not in passed and (chunk.name in _KEPT or (chunk.name == EXTENDED and not passed)):
            yield chunk
            if chunk.name in (*PIXELS, FRAME):
                return
        passed.add(chunk.name)


def _encode_chunk(data: bytes, chunk: WebpChunk, names: set[bytes]) -> bytes:
    content = data[chunk.body : chunk.end]
    if chunk.name == EXTENDED:
        flags = content[0] & (_ANIMATED | ALPHA | (_PROFILE if b"ICCP" in names else 0)) if content else 0
        content = bytes([flags, 0, 0, 0]) + content[4:EXTENDED_SIZE]
    if chunk.name == b"ICCP":
        content = blank_texts(content)
    if chunk.name == FRAME:
        parts = select_chunks(data, chunk.body + FRAME_HEAD, chunk.end)
        inner = [_encode_chunk(data, part, names) for part in parts if part.name in (b"ALPH", *PIXELS)]
        content = content[:FRAME_HEAD] + b"".join(inner)
    return encode_chunk(chunk.name, content)


def read_pixels(data: bytes, chunk: WebpChunk) -> ImageHeader:
    """Return the size and channels that a chunk of pixels itself says."""
    head = data[chunk.body : min(chunk.end, chunk.body + 10)]
    if chunk.name == LOSSY:
        if len(head) < 10:
            raise Truncated("ends inside the header of a frame")
        if head[0] & 1 or head[3:6] != b"\x9d\x01\x2a":
            raise FormatFault("a lossy frame without its start code")
        width, height = struct.unpack_from("<HH", head, 6)
        width, height, channels = width & 0x3FFF, height & 0x3FFF, 3
    elif chunk.name == LOSSLESS:
        if len(head) < 5:
            raise Truncated("ends inside the header of a frame")
        if head[0] != 0x2F:
            raise FormatFault("a lossless frame without its signature")
        bits = int.from_bytes(head[1:5], "little")
        width, height, channels = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, 4 if bits >> 28 & 1 else 3
    else:
        raise FormatFault("neither pixels nor an extended header where the first chunk should be")
    if not (width and height):
        raise FormatFault("a side of no pixels")
    return ImageHeader(width, height, channels)
