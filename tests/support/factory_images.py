"""Make WebP, GIF, BMP and TIFF files full of metadata for tests, piece by piece around images that OpenCV encodes."""

import struct
from typing import Any

import cv2
from numpy.typing import NDArray

from tests.support.factory_media import SECRET, draw_scene, make_exif


def encode_image(pixels: NDArray[Any], ending: str, how: tuple[int, ...] = ()) -> bytes:
    """OpenCV's own file of that ending."""
    return bytes(cv2.imencode(f".{ending}", pixels, list(how))[1].tobytes())


def make_riff_chunk(name: bytes, content: bytes) -> bytes:
    return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)


def build_webp(*chunks: bytes) -> bytes:
    content = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(content)) + content


def make_dirty_webp(orientation: int = 6) -> bytes:
    """An extended header, EXIF, XMP, an unknown chunk, and bytes after the end."""
    plain = encode_image(draw_scene(), "webp", (cv2.IMWRITE_WEBP_QUALITY, 90))
    size = (119).to_bytes(3, "little") + (89).to_bytes(3, "little")
    extended = make_riff_chunk(b"VP8X", bytes([0x0C, 0, 0, 0]) + size)
    exif = make_riff_chunk(b"EXIF", make_exif(orientation))
    xmp = make_riff_chunk(b"XMP ", b"<x:xmpmeta>" + SECRET)
    return build_webp(extended, plain[12:], exif, xmp, make_riff_chunk(b"mine", SECRET)) + b"after the end " + SECRET


def make_gif_extension(label: int, *pieces: bytes) -> bytes:
    return bytes([0x21, label]) + b"".join(bytes([len(piece)]) + piece for piece in pieces) + b"\0"


def make_dirty_gif() -> bytes:
    """A comment, a loop, XMP, a text, a second frame, and bytes after the end."""
    plain = encode_image(draw_scene(), "gif")
    start = 13 + (3 << (plain[10] & 7) + 1 if plain[10] & 0x80 else 0)
    words = (
        make_gif_extension(0xFE, SECRET)
        + make_gif_extension(0xFF, b"NETSCAPE2.0", b"\1\0\0")
        + make_gif_extension(0xFF, b"XMP DataXMP", SECRET)
        + make_gif_extension(0x01, bytes(12), SECRET)
    )
    return b"GIF89a" + plain[6:start] + words + plain[start:-1] + words + plain[start:] + SECRET


def make_dirty_bmp() -> bytes:
    """Words in a gap between the headers and the pixels, and after the end."""
    plain = bytearray(encode_image(draw_scene(), "bmp"))
    (start,) = struct.unpack_from("<I", plain, 10)
    struct.pack_into("<IHHI", plain, 2, 0, 7, 7, start + len(SECRET))
    return bytes(plain[:start]) + SECRET + bytes(plain[start:]) + SECRET


def add_tiff_tags(plain: bytes, tags: dict[int, tuple[int, int, bytes]]) -> bytes:
    """A little-endian TIFF file with another directory at its end, which has further tags, and which comes next after
    itself; `tags` have type, count and content."""
    (at,) = struct.unpack_from("<I", plain, 4)
    (count,) = struct.unpack_from("<H", plain, at)
    rows = {}
    for place in range(at + 2, at + 2 + 12 * count, 12):
        rows[struct.unpack_from("<H", plain, place)[0]] = plain[place : place + 12]
    end, values = len(plain) + 2 + 12 * len({*rows, *tags}) + 4, b""
    for tag, (kind, length, content) in tags.items():
        value = content
        if len(content) > 4:
            value = struct.pack("<I", end + len(values))
            values += content
        rows[tag] = struct.pack("<HHI", tag, kind, length) + value.ljust(4, b"\0")
    directory = struct.pack("<H", len(rows)) + b"".join(row for _, row in sorted(rows.items()))
    return plain[:4] + struct.pack("<I", len(plain)) + plain[8:] + directory + struct.pack("<I", len(plain)) + values


def make_dirty_tiff(orientation: int = 1, pixels: NDArray[Any] | None = None) -> bytes:
    """A description, an artist, EXIF's and GPS's directories, and a chain of directories without end."""
    tags = {
        270: (2, len(SECRET), SECRET),
        315: (2, len(SECRET), SECRET),
        700: (1, len(SECRET), SECRET),
        34665: (4, 1, struct.pack("<I", 8)),
        274: (3, 1, struct.pack("<H", orientation)),
    }
    return add_tiff_tags(encode_image(draw_scene() if pixels is None else pixels, "tiff"), tags)
