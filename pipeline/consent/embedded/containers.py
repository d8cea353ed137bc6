"""Put together metadata that formats divide or compress: of JPEG, PNG and GIF. Pure, bounded, never fails.

All other formats that are read have XMP packets and manifests as they are: WebP, AVIF, HEIC, TIFF, MP4, WAV, MP3.
"""

import zlib
from collections.abc import Callable, Iterator

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.image.jpeg import list_metadata
from pipeline.formats.type_names import GIF, JPEG, PNG

MAX_INFLATED = 16 << 20
"""Bytes of the compressed metadata of one file that are inflated."""

DIVIDED = (JPEG, GIF)
"""Formats in which a manifest as it is in the file may be cut into pieces."""

_XMP_EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
_EXTENSION_HEAD = len(_XMP_EXTENSION) + 32 + 8
"""Name, GUID, full length and offset (XMP part 3, section 1.1.3.1)."""

_JUMBF_HEAD = 8 + 8
"""Of an APP11 segment with a part of a box: `JP`, instance, sequence number; and the box's own head, which each repeats
(ISO/IEC 19566-5, annex D)."""

_APP1, _APP11 = 0xE1, 0xEB


def join_metadata(data: bytes, media_type: str) -> Iterator[bytes]:
    """Yield the metadata of a file that is not in it as one piece of plain bytes."""
    joiner = _JOINERS.get(media_type)
    if joiner:
        try:
            yield from joiner(data)
        except FormatFault:
            return


def _join_jpeg(data: bytes) -> Iterator[bytes]:
    extension: list[tuple[int, bytes]] = []
    boxes: dict[bytes, bytes] = {}
    for code, segment in list_metadata(data):
        if code == _APP1 and segment.startswith(_XMP_EXTENSION):
            head = segment[:_EXTENSION_HEAD]
            extension.append((int.from_bytes(head[-4:], "big"), segment[_EXTENSION_HEAD:]))
        elif code == _APP11 and segment.startswith(b"JP") and len(segment) > _JUMBF_HEAD:
            box = segment[2:4]
            boxes[box] = boxes.get(box, segment[8:_JUMBF_HEAD]) + segment[_JUMBF_HEAD:]
    if extension:
        yield b"".join(part for _, part in sorted(extension))
    yield from boxes.values()


def _join_png(data: bytes) -> Iterator[bytes]:
    """Yield what the text chunks of XMP hold compressed."""
    at, left = 8, MAX_INFLATED
    while at + 12 <= len(data) and left > 0:
        size, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name in (b"iTXt", b"zTXt"):
            text = _inflate(name, data[at + 8 : at + 8 + size], left)
            left -= len(text)
            yield text
        at += 12 + size


def _inflate(name: bytes, content: bytes, limit: int) -> bytes:
    """Return the text of a compressed chunk: empty where it is not compressed, or damaged."""
    _, _, rest = content.partition(b"\0")
    if name == b"iTXt":
        if rest[:1] != b"\1":
            return b""
        rest = rest[2:].partition(b"\0")[2].partition(b"\0")[2]  # language and translated keyword
    else:
        rest = rest[1:]
    try:
        return zlib.decompressobj().decompress(rest, limit)
    except zlib.error:
        return b""


def _join_gif(data: bytes) -> Iterator[bytes]:
    """Yield the application extensions with their sub-blocks joined; XMP is there without sub-blocks."""
    at = 0
    while (at := data.find(b"\x21\xff\x0bC2PA_GIF", at)) >= 0:
        at += 14
        parts = []
        while at < len(data) and data[at]:
            parts.append(data[at + 1 : at + 1 + data[at]])
            at += 1 + data[at]
        yield b"".join(parts)


_JOINERS: dict[str, Callable[[bytes], Iterator[bytes]]] = {JPEG: _join_jpeg, PNG: _join_png, GIF: _join_gif}
