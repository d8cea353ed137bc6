"""Encode the metadata that cameras and editors write into image files: EXIF with GPS, comments, PNG text."""

import struct
import zlib

ORIENTATION = 0x0112
MAKE = 0x010F
GPS_POINTER = 0x8825
ASCII, SHORT, LONG, RATIONAL = 2, 3, 4, 5

Entry = tuple[int, int, int, bytes]
"""Tag, type, count and value of one field, little-endian."""


def encode_exif(orientation: int | None, position: tuple[float, float] | None) -> bytes:
    """Encode an EXIF block for a JPEG's APP1 segment: orientation (1 to 8), latitude and longitude in degrees.

    Layout and tags: CIPA DC-008 (Exif 2.32), sections 4.5 and 4.6, and TIFF 6.0, section 2.
    """
    entries: list[Entry] = [(MAKE, ASCII, 8, b"Cabinet\0")]
    if orientation is not None:
        entries.append((ORIENTATION, SHORT, 1, struct.pack("<H", orientation)))
    gps = b""
    if position is not None:
        entries.append((GPS_POINTER, LONG, 1, bytes(4)))
        start = 8 + len(encode_ifd(entries, 8))
        entries[-1] = (GPS_POINTER, LONG, 1, struct.pack("<I", start))
        gps = encode_ifd(encode_position(*position), start)
    return b"Exif\0\0" + b"II*\0" + struct.pack("<I", 8) + encode_ifd(entries, 8) + gps


def encode_ifd(entries: list[Entry], offset: int) -> bytes:
    """Encode an image file directory at `offset` bytes in the block, then the values that do not fit an entry."""
    table, values = struct.pack("<H", len(entries)), b""
    beyond = offset + 2 + 12 * len(entries) + 4
    for tag, kind, count, value in entries:
        if len(value) > 4:
            field = struct.pack("<I", beyond + len(values))
            values += value + bytes(len(value) % 2)
        else:
            field = value.ljust(4, b"\0")
        table += struct.pack("<HHI", tag, kind, count) + field
    return table + bytes(4) + values


def encode_position(latitude: float, longitude: float) -> list[Entry]:
    """Encode the four GPS fields of a position, in degrees, minutes and hundredths of a second."""
    return [
        (1, ASCII, 2, b"N\0" if latitude >= 0 else b"S\0"),
        (2, RATIONAL, 3, encode_degrees(abs(latitude))),
        (3, ASCII, 2, b"E\0" if longitude >= 0 else b"W\0"),
        (4, RATIONAL, 3, encode_degrees(abs(longitude))),
    ]


def encode_degrees(degrees: float) -> bytes:
    """Encode three rationals: degrees, minutes, seconds."""
    hundredths = round(degrees * 360_000)
    minutes, seconds = divmod(hundredths, 6000)
    return struct.pack("<6I", minutes // 60, 1, minutes % 60, 1, seconds, 100)


def insert_segment(jpeg: bytes, marker: int, content: bytes) -> bytes:
    """Return the JPEG with one more segment (marker 0xE1 is APP1, 0xFE a comment) right after its start.

    An EXIF segment comes before the JFIF one, as cameras write it.
    """
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content + jpeg[2:]


def insert_png_text(png: bytes, keyword: str, text: str) -> bytes:
    """Return the PNG with a tEXt chunk after its header (PNG specification, section 11.3.4.3)."""
    header_end = 8 + 25  # signature, then IHDR: 4 length, 4 type, 13 content, 4 CRC
    body = b"tEXt" + keyword.encode("latin-1") + b"\0" + text.encode("latin-1")
    chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
    return png[:header_end] + chunk + png[header_end:]
