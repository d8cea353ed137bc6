"""Read the header and orientation of WebP files, check their chunks and strip metadata, without decoding a pixel.

RIFF is a sequence of chunks: name, length, content, and a zero where the length is odd. RFC 9649, sections 2 and 3;
RFC 6386, section 9.1, for the size of a lossy frame. Of an animation the first frame is read and kept.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.exif_orientation import UPRIGHT
from pipeline.formats.image.exif_orientation import read_orientation as read_exif_orientation

_EXTENDED, _LOSSY, _LOSSLESS, _FRAME = b"VP8X", b"VP8 ", b"VP8L", b"ANMF"
_PIXELS = (_LOSSY, _LOSSLESS)
_KEPT = (b"ICCP", b"ANIM", b"ALPH", *_PIXELS, _FRAME)
"""Chunks that decide how pixels look. All others say who took the image, where and with what."""
_ANIMATED, _XMP, _EXIF, _ALPHA, _PROFILE = 0x02, 0x04, 0x08, 0x10, 0x20
_EXTENDED_SIZE = 10
_FRAME_HEAD = 16  # place, size, duration and flags of a frame, before its chunks


@dataclass(frozen=True, slots=True)
class WebpHeader:
    """Size of the canvas in pixels, and channels: 3, or 4 with alpha."""

    width: int
    height: int
    channels: int


class _WebpChunk(NamedTuple):
    """`data[start:end]` is name, length and content, `body` where the content begins."""

    name: bytes
    start: int
    body: int
    end: int


def read_header(data: bytes) -> WebpHeader:
    """Return the header of the canvas.

    Raises:
        FormatFault: it is not a WebP file, or the pixels have another size than its header says.
        Truncated: the file ends inside its header.
    """
    first = next(_walk_chunks(data, 12, _read_end(data)), None)
    if first is None:
        raise Truncated("no chunk")
    if first.name != _EXTENDED:
        return _read_pixels(data, first)
    if first.end - first.body < _EXTENDED_SIZE:
        raise FormatFault("the extended header is too short")
    if len(data) < first.body + _EXTENDED_SIZE:
        raise Truncated("ends inside the extended header")
    width, height = (_read_24_bits(data, first.body + at) + 1 for at in (4, 7))
    return WebpHeader(width, height, 4 if data[first.body] & _ALPHA else 3)


def read_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none."""
    for chunk in _walk_chunks(data, 12, _read_end(data)):
        if chunk.name == b"EXIF":
            return read_exif_orientation(data[chunk.body : chunk.end].removeprefix(b"Exif\0\0"))
    return UPRIGHT


def check_whole(data: bytes) -> None:
    """Check that every chunk is complete, and that there are pixels of the size that the header says.

    Raises:
        Truncated: the file ends before that.
        FormatFault: the pixels have another size; or as `read_header`.
    """
    header = read_header(data)
    end = _read_end(data)
    if end > len(data):
        raise Truncated("ends inside its chunks")
    frame = next((chunk for chunk in _walk_chunks(data, 12, end) if chunk.name == _FRAME), None)
    size, start = (header.width, header.height), 12
    if frame is not None:
        if frame.end - frame.body < _FRAME_HEAD:
            raise FormatFault("the first frame is too short")
        left, top, width, height = (_read_24_bits(data, frame.body + at) for at in (0, 3, 6, 9))
        size, start, end = (width + 1, height + 1), frame.body + _FRAME_HEAD, frame.end
        if 2 * left + size[0] > header.width or 2 * top + size[1] > header.height:
            raise FormatFault("the first frame lies beyond the canvas")
    pixels = next((chunk for chunk in _walk_chunks(data, start, end) if chunk.name in _PIXELS), None)
    if pixels is None:
        raise FormatFault("no pixels")
    found = _read_pixels(data, pixels)
    if (found.width, found.height) != size:
        raise FormatFault("the pixels have another size than the header says")


def strip_metadata(data: bytes) -> bytes:
    """Return the file without EXIF, XMP, unknown chunks, bytes after its end and all frames but the first.

    All chunks that decoders need stay, byte for byte. It is the same object where nothing is removed.

    Raises:
        FormatFault: as `read_header`.
    """
    kept = list(_select_chunks(data, 12, _read_end(data)))
    names = {chunk.name for chunk in kept}
    parts = [_encode_chunk(data, chunk, names) for chunk in kept]
    content = b"WEBP" + b"".join(parts)
    stripped = b"RIFF" + struct.pack("<I", len(content)) + content
    return data if stripped == data else stripped


def _select_chunks(data: bytes, at: int, end: int) -> Iterator[_WebpChunk]:
    """Yield the extended header, and the first of each kind of chunk that is kept, up to the first pixels."""
    passed: set[bytes] = set()
    for chunk in _walk_chunks(data, at, end):
        if chunk.name not in passed and (chunk.name in _KEPT or (chunk.name == _EXTENDED and not passed)):
            yield chunk
            if chunk.name in (*_PIXELS, _FRAME):
                return
        passed.add(chunk.name)


def _encode_chunk(data: bytes, chunk: _WebpChunk, names: set[bytes]) -> bytes:
    content = data[chunk.body : chunk.end]
    if chunk.name == _EXTENDED:
        flags = content[0] & (_ANIMATED | _ALPHA | (_PROFILE if b"ICCP" in names else 0)) if content else 0
        content = bytes([flags, 0, 0, 0]) + content[4:_EXTENDED_SIZE]
    if chunk.name == _FRAME:
        parts = _select_chunks(data, chunk.body + _FRAME_HEAD, chunk.end)
        inner = [_encode_chunk(data, part, names) for part in parts if part.name in (b"ALPH", *_PIXELS)]
        content = content[:_FRAME_HEAD] + b"".join(inner)
    return chunk.name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def _read_pixels(data: bytes, chunk: _WebpChunk) -> WebpHeader:
    """Return the size that a frame itself says."""
    head = data[chunk.body : min(chunk.end, chunk.body + 10)]
    if chunk.name == _LOSSY:
        if len(head) < 10:
            raise Truncated("ends inside the header of a frame")
        if head[0] & 1 or head[3:6] != b"\x9d\x01\x2a":
            raise FormatFault("a lossy frame without its start code")
        width, height = struct.unpack_from("<HH", head, 6)
        width, height, channels = width & 0x3FFF, height & 0x3FFF, 3
    elif chunk.name == _LOSSLESS:
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
    return WebpHeader(width, height, channels)


def _read_24_bits(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 3], "little")


def _read_end(data: bytes) -> int:
    """Return where the file ends by its own header."""
    if len(data) < 12:
        raise Truncated("ends inside the RIFF header")
    if data[:4] != b"RIFF" or data[8:12] != b"WEBP":
        raise FormatFault("not RIFF, or not WebP")
    return int(struct.unpack_from("<I", data, 4)[0]) + 8


def _walk_chunks(data: bytes, at: int, end: int) -> Iterator[_WebpChunk]:
    """Yield the chunks between two offsets, as far as the bytes go.

    Raises:
        FormatFault: one is longer than what is around it.
    """
    while at + 8 <= min(end, len(data)):
        name, size = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + size
        if stop > end:
            raise FormatFault("a chunk is longer than what is around it")
        yield _WebpChunk(name, at, at + 8, stop)
        at = stop + size % 2
