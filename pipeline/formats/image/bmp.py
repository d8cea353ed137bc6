"""Read the header of BMP files, check that their pixels are complete and strip what is not needed, without decoding.

A file header with the offset of the pixels, an information header of one of several sizes, masks or a palette, and the
pixels, whose rows are filled up to four bytes. Microsoft, Bitmap Storage (wingdi.h: BITMAPFILEHEADER, BITMAPCOREHEADER,
BITMAPINFOHEADER, BITMAPV4HEADER, BITMAPV5HEADER).
"""

import struct
from dataclasses import dataclass

from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported
from pipeline.formats.image.image_header import ImageHeader
from shardwright.format.exif_orientation import UPRIGHT

_FILE_HEADER, _CORE, _INFO, _V4, _V5 = 14, 12, 40, 108, 124
_SIZES = (_CORE, _INFO, 52, 56, _V4, _V5)
_RGB, _RLE8, _RLE4, _MASKS, _ALPHA_MASKS = 0, 1, 2, 3, 6
_BITS = {_RGB: (1, 4, 8, 16, 24, 32), _RLE8: (8,), _RLE4: (4,), _MASKS: (16, 32), _ALPHA_MASKS: (16, 32)}
_ALPHA_MASK_AT = 52


@dataclass(frozen=True, slots=True)
class _BmpLayout:
    """The header, bits of a pixel, the bytes of the headers, masks and palette, and where the pixels begin and end."""

    header: ImageHeader
    bits: int
    head: int
    pixels: int
    end: int


def read_header(data: bytes) -> ImageHeader:
    """Return the header, with 4 channels where a mask says where alpha is.

    Raises:
        FormatFault: it is not a BMP file, or its header is not as BMP has it.
        Unsupported: pixels in a coding that is not of BMP itself, such as JPEG.
        Truncated: the file ends inside its headers.
    """
    return _read_layout(data).header


def read_orientation(data: bytes) -> int:
    """Return 1: BMP has no orientation, and rows from the top down are known to decoders."""
    return UPRIGHT


def check_whole(data: bytes) -> None:
    """Check that all rows are present; of run-length coded ones, as many bytes as the header says.

    Raises:
        Truncated: they are not.
        FormatFault: as `read_header`.
    """
    layout = _read_layout(data)
    if layout.end > len(data):
        raise Truncated("fewer pixels than the header says")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with its headers, masks, palette and pixels only, right after each other: without a colour
    profile, which may name a file, gaps, and bytes after its end. It is the same object where nothing is removed.

    Raises:
        FormatFault: as `read_header`.
    """
    layout = _read_layout(data)
    pixels = data[layout.pixels : layout.end]
    head = bytearray(data[: layout.head])
    struct.pack_into("<IHHI", head, 2, layout.head + len(pixels), 0, 0, layout.head)
    if struct.unpack_from("<I", head, _FILE_HEADER)[0] == _V5:
        struct.pack_into("<II", head, _FILE_HEADER + 112, 0, 0)  # offset and size of the profile
    if layout.bits > 8 and layout.head >= _FILE_HEADER + _INFO:
        struct.pack_into("<I", head, _FILE_HEADER + 32, 0)  # colours of a palette that only poor screens needed
    stripped = bytes(head) + pixels
    return data if stripped == data else stripped


def _read_layout(data: bytes) -> _BmpLayout:
    if data[:2] != b"BM" and len(data) >= 2:
        raise FormatFault("no signature")
    if len(data) < _FILE_HEADER + _CORE:
        raise Truncated("ends inside the headers")
    pixels, size = struct.unpack_from("<II", data, 10)
    if size not in _SIZES:
        raise FormatFault("an information header of a size that BMP does not have")
    if len(data) < _FILE_HEADER + size:
        raise Truncated("ends inside the headers")
    width, height, bits, coding, length, colours = _read_fields(data, size)
    if coding not in _BITS:
        raise Unsupported(f"pixels in the coding {coding}: save it as PNG")
    if bits not in _BITS[coding] or not (width > 0 and height):
        raise FormatFault("bits, coding and size do not agree, or are 0")
    head = _FILE_HEADER + size
    if size == _INFO:
        head += {_MASKS: 12, _ALPHA_MASKS: 16}.get(coding, 0)
    if bits <= 8:
        head += (min(colours, 1 << bits) or 1 << bits) * (3 if size == _CORE else 4)
    if pixels < head:
        raise FormatFault("the pixels begin inside the headers")
    row = (width * bits + 31) // 32 * 4
    end = pixels + (length if coding in (_RLE8, _RLE4) else row * abs(height))
    if coding in (_RLE8, _RLE4) and not length:
        raise FormatFault("run-length coded pixels of no length")
    alpha = coding in (_MASKS, _ALPHA_MASKS) and any(data[_FILE_HEADER + _ALPHA_MASK_AT : head][:4]) and size != 52
    return _BmpLayout(ImageHeader(width, abs(height), 4 if alpha else 3), bits, head, pixels, end)


def _read_fields(data: bytes, size: int) -> tuple[int, int, int, int, int, int]:
    """Return width, height (negative where rows go from the top down), bits, coding, bytes of pixels and colours."""
    if size == _CORE:
        width, height, _, bits = struct.unpack_from("<HHHH", data, _FILE_HEADER + 4)
        return width, height, bits, _RGB, 0, 0
    width, height, _, bits, coding, length, _, _, colours, _ = struct.unpack_from("<iiHHIIiiII", data, _FILE_HEADER + 4)
    return width, height, bits, coding, length, colours
