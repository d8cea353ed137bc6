"""Read the size of an image from its header, before memory for its pixels is allocated.

JPEG: ITU-T T.81, annex B. PNG: the W3C recommendation, chunk IHDR. WebP: RFC 9649, sections 2.5 to 2.7.
"""

import struct
from typing import NamedTuple

from shardwright.format.rare_image_headers import read_avif, read_bmp, read_gif, read_tiff

JPEG_START, JPEG_END = b"\xff\xd8\xff", b"\xff\xd9"
MAX_JPEG_SIDE = 65_500
"""Pixels: libjpeg's limit; a frame header has 16 bits a side."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
EXIF = b"Exif\0\0"
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables, not frame headers
BARE = frozenset({0x01, *range(0xD0, 0xD9)})  # markers without a length: TEM, restarts, start of image
END_OR_SCAN = (0xD9, 0xDA)
READERS = (
    ((b"ftypavif", b"ftypavis"), read_avif),
    ((b"GIF87a", b"GIF89a"), read_gif),
    ((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), read_tiff),
    ((b"BM",), read_bmp),
)
"""By the first bytes of a file, or those after the size of its first box."""


class ImageSize(NamedTuple):
    """Height and width in pixels as stored; with `may_turn` the file has, or may have, EXIF data that rotates it.

    `exif` is where a JPEG file's TIFF structure of EXIF data begins, or 0.
    """

    height: int
    width: int
    may_turn: bool
    exif: int = 0


def read_image_size(data: bytes) -> ImageSize:
    """Return the size in an image's header; the beginning of the file is enough.

    Raises:
        ValueError: `data` is neither JPEG, PNG, WebP, AVIF, GIF, BMP nor TIFF, or ends before the size.
    """
    try:
        if data.startswith(JPEG_START):
            return _read_jpeg(data)
        if data.startswith(PNG_SIGNATURE) and data[12:16] == b"IHDR":
            return _read_png(data)
        if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _read_webp(data)
        for signatures, read in READERS:
            if data.startswith(signatures) or data[4:12] in signatures:
                return ImageSize(*read(data), may_turn=True)
    except (IndexError, struct.error) as error:
        raise ValueError("the file ends before the image's size") from error
    raise ValueError("not a JPEG, PNG, WebP, AVIF, GIF, BMP or TIFF file")


def check_jpeg(data: bytes, shape: tuple[int, ...]) -> None:
    """Check a JPEG file against the `shape` (height, width, 3) of its field by its header and end, without decoding.

    Raises:
        ValueError: it is not a whole JPEG file, or has another height or width.
    """
    if not data.startswith(JPEG_START) or not data.endswith(JPEG_END):
        raise ValueError("not a JPEG file from its start to its end marker")
    size = read_image_size(data)
    if (size.height, size.width) != shape[:2]:
        raise ValueError(f"the image has {size.height} × {size.width} pixels; the field has {shape[0]} × {shape[1]}")


def _read_jpeg(data: bytes) -> ImageSize:
    position, exif = 2, 0
    while True:
        # Decoders skip bytes between segments, and any number of bytes 0xFF before a marker.
        position = data.find(b"\xff", position)
        if position < 0:
            raise IndexError
        code = data[position + 1]
        if code in (0xFF, 0x00):
            position += 1
        elif code in BARE:
            position += 2
        elif code in END_OR_SCAN:
            raise ValueError("no frame header before the first scan")
        elif code in FRAMES:
            return ImageSize(_read_big(data, position + 5), _read_big(data, position + 7), exif > 0, exif)
        else:
            if not exif and code == 0xE1 and data[position + 4 : position + 10] == EXIF:
                exif = position + 10
            position += 2 + max(2, _read_big(data, position + 2))


def _read_big(data: bytes, position: int) -> int:
    """Read a 16-bit number, the high byte first."""
    return data[position] << 8 | data[position + 1]


def _read_png(data: bytes) -> ImageSize:
    if len(data) < 24:
        raise IndexError
    width, height = int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    # The chunk may be anywhere: without the whole file its absence is not known.
    return ImageSize(height, width, b"eXIf" in data or data[-8:-4] != b"IEND")


def _read_webp(data: bytes) -> ImageSize:
    if len(data) < 30:
        raise IndexError
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = int.from_bytes(data[26:28], "little") & 0x3FFF, int.from_bytes(data[28:30], "little") & 0x3FFF
        return ImageSize(height, width, False)
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return ImageSize((bits >> 14 & 0x3FFF) + 1, (bits & 0x3FFF) + 1, False)
    if kind == b"VP8X":
        width, height = int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
        return ImageSize(height, width, bool(data[20] & 0x08))
    raise ValueError("a WebP file without an image")
