"""Read the header and orientation of PNG files, check their chunks and strip metadata, without inflating a pixel.

A file is a signature and a sequence of chunks: length, type, content, CRC-32 of type and content. W3C PNG (Third
Edition), sections 5 and 11; eXIf is 11.3.4.5 there.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.icc_profile import blank_texts
from pipeline.formats.image.image_header import ImageHeader
from shardwright.format.checksum import compute_crc32
from shardwright.format.exif_orientation import UPRIGHT
from shardwright.format.exif_orientation import read_orientation as read_exif_orientation

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MAX_SIDE = 2**31 - 1
_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}  # by colour type; a palette holds RGB
_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")
_KEPT = frozenset({*_CRITICAL, b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs", b"cICP"})
"""Chunks that decide how pixels look. All others hold text, dates, places, or further frames of an animation."""
_LENGTHS = {
    b"gAMA": (4,), b"cHRM": (32,), b"sRGB": (1,), b"cICP": (4,), b"pHYs": (9,), b"sBIT": (1, 2, 3, 4),
    b"bKGD": (1, 2, 6), b"tRNS": range(257),
}  # fmt: skip
"""Bytes of each ancillary chunk that is kept, but the profile: longer ones hold something else."""
_PROFILE_NAME = b"ICC"
MAX_PROFILE = 1 << 24
"""Bytes of an inflated ICC profile; those of printers have some 2 MB."""
_BEFORE_PALETTE = frozenset({b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"cICP"})
_AFTER_PALETTE = frozenset({b"tRNS", b"bKGD"})


class _PngChunk(NamedTuple):
    """`data[start:end]` is length, type, content and CRC."""

    name: bytes
    start: int
    end: int


def read_header(data: bytes) -> ImageHeader:
    """Return the header: from the first 33 bytes alone, but for the transparency chunk, whose damage does not matter.

    Raises:
        FormatFault: it is not a PNG file, or has a header that the standard does not allow.
        Truncated: the file ends inside its header.
    """
    if len(data) < 33 and SIGNATURE.startswith(data[:8]):
        raise Truncated("ends inside the header")
    if data[:16] != SIGNATURE + struct.pack(">I4s", 13, b"IHDR"):
        raise FormatFault("no signature and header chunk")
    if compute_crc32(data[12:29]) != int.from_bytes(data[29:33], "big"):
        raise FormatFault("the header's CRC is wrong")
    width, height, depth, colour, *methods = struct.unpack_from(">IIBBBBB", data, 16)
    if not (0 < width <= _MAX_SIDE and 0 < height <= _MAX_SIDE):
        raise FormatFault("a side of no pixels, or of 2**31 and more")
    if depth not in _DEPTHS.get(colour, ()) or methods[:2] != [0, 0] or methods[2] > 1:
        raise FormatFault("a colour type, bit depth or method that PNG does not have")
    see_through = colour in (2, 3) and any(chunk.name == b"tRNS" for chunk in _select_chunks(data))
    return ImageHeader(width, height, _CHANNELS[colour] + see_through)


def read_orientation(data: bytes) -> int:
    """Return the EXIF orientation of the eXIf chunk, 1 to 8; 1 where there is none."""
    for chunk in _walk_chunks(data):
        if chunk.name == b"eXIf":
            return read_exif_orientation(data[chunk.start + 8 : chunk.end - 4])
    return UPRIGHT


def check_whole(data: bytes) -> None:
    """Check that every chunk's CRC is right, and that there are pixels and an end chunk.

    Raises:
        Truncated: the file ends before its end chunk.
        FormatFault: a CRC is wrong, or a critical chunk is unknown; or as `read_header`.
    """
    read_header(data)
    names = set()
    for chunk in _walk_chunks(data):
        (expected,) = struct.unpack_from(">I", data, chunk.end - 4)
        if compute_crc32(memoryview(data)[chunk.start + 4 : chunk.end - 4]) != expected:
            raise FormatFault("a chunk's CRC is wrong")
        if chunk.name not in _CRITICAL and not chunk.name[0] & 0x20:
            raise FormatFault("an unknown critical chunk")
        names.add(chunk.name)
    if b"IEND" not in names:
        raise Truncated("no end chunk")
    if b"IDAT" not in names:
        raise FormatFault("no pixels")


def strip_metadata(data: bytes) -> bytes:
    """Return the file without text, EXIF, dates, unknown ancillary chunks, animation and bytes after its end.

    All chunks that decoders need stay, byte for byte. Repeated ones, and those in a place that is not allowed, are
    removed
    too: libpng ignores them, and prints that on the terminal. It is the same object where nothing is removed.
    """
    parts = [SIGNATURE, *(_strip_chunk(data, chunk) for chunk in _select_chunks(data))]
    stripped = b"".join(parts)
    return data if stripped == data else stripped


def _strip_chunk(data: bytes, chunk: _PngChunk) -> bytes:
    """Return a chunk; without its name and its texts where it is an ICC profile; nothing where it is not as long as its
    kind is."""
    content = data[chunk.start + 8 : chunk.end - 4]
    if chunk.name in _LENGTHS and len(content) not in _LENGTHS[chunk.name]:
        return b""
    if chunk.name != b"iCCP":
        return data[chunk.start : chunk.end]
    name, _, packed = content.partition(b"\0")
    inflater = zlib.decompressobj()
    try:
        profile = inflater.decompress(packed[1:], MAX_PROFILE)
    except zlib.error:
        return b""
    blank = blank_texts(profile)
    if name == _PROFILE_NAME and blank == profile and inflater.eof and not inflater.unused_data:
        return data[chunk.start : chunk.end]
    content = _PROFILE_NAME + b"\0\0" + zlib.compress(blank, 9)
    head = struct.pack(">I", len(content)) + chunk.name
    return head + content + struct.pack(">I", compute_crc32(chunk.name + content))


def _select_chunks(data: bytes) -> Iterator[_PngChunk]:
    """Yield the chunks to keep; of ancillary ones the first of its kind, if it is in an allowed place (section 5.6)."""
    palette = data[25:26] == b"\3"
    passed: set[bytes] = set()
    for chunk in _walk_chunks(data):
        if chunk.name in _CRITICAL:
            yield chunk
        elif chunk.name in _KEPT and chunk.name not in passed and b"IDAT" not in passed:
            early = palette and chunk.name in _AFTER_PALETTE and b"PLTE" not in passed
            late = chunk.name in _BEFORE_PALETTE and b"PLTE" in passed
            if not (early or late):
                yield chunk
        passed.add(chunk.name)


def _walk_chunks(data: bytes) -> Iterator[_PngChunk]:
    """Yield the chunks up to the end chunk, or as far as the bytes go.

    Raises:
        FormatFault: no signature, or a length or type that no chunk has.
    """
    if not data.startswith(SIGNATURE):
        raise FormatFault("no signature")
    at = len(SIGNATURE)
    while at + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, at)
        if length > _MAX_SIDE or not name.isalpha():
            raise FormatFault("a chunk's length or type is impossible")
        if at + 12 + length > len(data):
            return
        yield _PngChunk(name, at, at + 12 + length)
        at += 12 + length
        if name == b"IEND":
            return
