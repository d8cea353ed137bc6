"""Read the size of GIF, BMP, TIFF and AVIF images from their headers.

GIF: GIF89a specification, section 18. BMP: Microsoft, BITMAPCOREHEADER and BITMAPINFOHEADER. TIFF: revision 6.0,
section 2, and libtiff's design of BigTIFF. AVIF: ISO/IEC 23008-12, box `ispe`.
"""

import struct

_TIFF_ORDERS = {b"II*\0": ("<", False), b"MM\0*": (">", False), b"II+\0": ("<", True), b"MM\0+": (">", True)}
_TIFF_SIZES = {3: "H", 4: "I", 16: "Q"}
_WIDTH, _HEIGHT = 256, 257
_MAX_ENTRIES = 4096


def read_gif(data: bytes) -> tuple[int, int]:
    """Return height and width of the logical screen."""
    width, height = struct.unpack_from("<HH", data, 6)
    return height, width


def read_bmp(data: bytes) -> tuple[int, int]:
    """Return height and width; rows may be stored from the top down, with a negative height."""
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    return abs(height), abs(width)


def read_tiff(data: bytes) -> tuple[int, int]:
    """Return height and width of the first image.

    Raises:
        ValueError: its directory has no width or height.
    """
    order, is_big = _TIFF_ORDERS[data[:4]]
    (at,) = struct.unpack_from(order + "Q", data, 8) if is_big else struct.unpack_from(order + "I", data, 4)
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), data, at)
    start, size = (at + 8, 20) if is_big else (at + 2, 12)
    found = {}
    for entry in range(start, start + min(count, _MAX_ENTRIES) * size, size):
        tag, kind = struct.unpack_from(order + "HH", data, entry)
        if tag in (_WIDTH, _HEIGHT) and kind in _TIFF_SIZES:
            (found[tag],) = struct.unpack_from(order + _TIFF_SIZES[kind], data, entry + size - (8 if is_big else 4))
    if len(found) < 2:
        raise ValueError("its directory has no width or height")
    return found[_HEIGHT], found[_WIDTH]


def read_avif(data: bytes) -> tuple[int, int]:
    """Return height and width of the largest image in the file: it may be one of tiles, or a thumbnail.

    Raises:
        ValueError: there is no size.
    """
    sizes, at = [], data.find(b"ispe")
    while at >= 0:
        width, height = struct.unpack_from(">II", data, at + 8)
        sizes.append((height, width))
        at = data.find(b"ispe", at + 4)
    if not sizes:
        raise ValueError("it has no image size")
    return max(sizes, key=lambda size: size[0] * size[1])
