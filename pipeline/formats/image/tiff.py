"""Read the header and orientation of TIFF files, check that the pixels are complete and strip what is not needed.

A header with the offset of the first directory, whose entries have a tag, a type, and values or their offset; pixels in
strips or tiles anywhere in the file. TIFF 6.0 (Adobe, 1992), with its Technical Notes 1 and 2; BigTIFF has 64-bit
offsets (libtiff, BigTIFF Design). Only the first directory is read: a chain of them may be endless.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported
from pipeline.formats.image import jpeg
from pipeline.formats.image.icc_profile import blank_texts
from shardwright.format.exif_orientation import UPRIGHT

_TYPE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_INTEGERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_SHORT, _LONG = 3, 4
_WIDTH, _HEIGHT, _BITS, _CODING, _COLOURS, _ORIENTATION, _SAMPLES = 256, 257, 258, 259, 262, 274, 277
_STRIPS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANES = 273, 278, 279, 284
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _ALPHA, _FORMAT = 322, 323, 324, 325, 338, 339
_PROFILE = 34675
_KEPT = frozenset(
    {_WIDTH, _HEIGHT, _BITS, _CODING, _COLOURS, _SAMPLES, _STRIPS, _ROWS_PER_STRIP, _STRIP_BYTES, _PLANES, _TILE_WIDTH}
    | {_TILE_HEIGHT, _TILES, _TILE_BYTES, _ALPHA, _FORMAT}
    | {266, 292, 293, 317, 320, 332, 334, 336, 347}  # bit order, fax options, predictor, palette, inks, JPEG tables
    | {529, 530, 531, 532, _PROFILE}  # YCbCr, and the colour profile
)
"""Tags that decide how pixels look. All others say who made the image, where, with what, and hold other versions."""
_PLAIN, _JPEG = 1, 7
_CODINGS = (_PLAIN, 2, 3, 4, 5, _JPEG, 8, 32773, 32946)
"""Fax, LZW, JPEG, Deflate and PackBits: what libtiff reads in every build."""
_GREY, _INVERTED, _RGB, _PALETTE, _CMYK, _YCBCR = 1, 0, 2, 3, 5, 6
_SAMPLES_OF = {_GREY: (1,), _INVERTED: (1,), _RGB: (3, 4), _PALETTE: (1,), _CMYK: (4,), _YCBCR: (3,)}
_DEEP = (_GREY, _INVERTED, _RGB)
"""What may have 16 bits a sample, or 32 as floats; all others have up to 8."""
_MAX_TILE = 4096
"""Pixels that a tile may be larger than the image on a side: a decoder takes memory for whole tiles."""


@dataclass(frozen=True, slots=True)
class TiffHeader:
    """Size in pixels as stored, bits of a sample, and channels with alpha.

    Attributes:
        floats: whether samples are floats.
        inverted: whether grey 0 is white.
        premultiplied: whether colours were multiplied by alpha.
    """

    width: int
    height: int
    bits: int
    channels: int
    floats: bool = False
    inverted: bool = False
    premultiplied: bool = False


class _TiffEntry(NamedTuple):
    """A directory's entry: its type, the number of values, and their bytes."""

    kind: int
    length: int
    content: bytes


class _TiffLayout(NamedTuple):
    """The byte order, and the first directory by tag."""

    order: str
    entries: Mapping[int, _TiffEntry]

    def read(self, tag: int, default: int | None = None) -> int:
        """Return the first value of a tag."""
        return self.list_values(tag, default)[0]

    def list_values(self, tag: int, default: int | None = None) -> tuple[int, ...]:
        """Return the whole numbers of a tag, at least one.

        Raises:
            FormatFault: it is missing and has no default, or holds none.
        """
        entry = self.entries.get(tag)
        if entry is None and default is not None:
            return (default,)
        if entry is None or entry.kind not in _INTEGERS or not entry.length:
            raise FormatFault(f"the tag {tag} is missing, or holds no whole number")
        return struct.unpack(f"{self.order}{entry.length}{_INTEGERS[entry.kind]}", entry.content)


def read_header(data: bytes) -> TiffHeader:
    """Return the header of the first image of the file.

    Raises:
        FormatFault: it is not a TIFF file, or a tag that it must have is missing.
        Unsupported: a coding, a depth or colours that the decoder does not read.
        Truncated: the first directory lies beyond the end.
    """
    return _decode_header(_read_directory(data))


def read_orientation(data: bytes) -> int:
    """Return the orientation of the first image, 1 to 8; 1 where it does not say."""
    layout = _read_directory(data)
    value = layout.read(_ORIENTATION, UPRIGHT)
    return value if 1 <= value <= 8 else UPRIGHT


def check_whole(data: bytes) -> None:
    """Check that all strips or tiles lie within the file, and that there are as many as the size needs.

    Raises:
        Truncated: one lies beyond the end.
        FormatFault: there are too few, they share bytes, or are too short for pixels that are not compressed.
    """
    layout = _read_directory(data)
    header = _decode_header(layout)
    parts = _list_parts(layout)
    if max(start + size for start, size in parts) > len(data):
        raise Truncated("pixels lie beyond the end")
    if sum(size for _, size in parts) > len(data):
        raise FormatFault("strips or tiles share bytes")
    samples = layout.read(_SAMPLES, 1)
    planes = samples if layout.read(_PLANES, 1) == 2 else 1
    across, down, width, height = _find_grid(layout, header)
    if len(parts) != across * down * planes:
        raise FormatFault("too few strips or tiles, or too many")
    if layout.read(_CODING, _PLAIN) == _PLAIN and layout.read(_COLOURS) != _YCBCR:
        row = -(-width * header.bits * (samples // planes) // 8)
        rows = height * (len(parts) - 1) + (height if _TILES in layout.entries else header.height - (down - 1) * height)
        needed = row * (rows if planes == 1 else header.height)
        if sum(size for _, size in parts) < needed:
            raise FormatFault("strips or tiles are too short for their pixels")


def strip_metadata(data: bytes) -> bytes:
    """Return the first image alone, its pixels byte for byte, with the tags only that say how to decode them; strips
    and tiles come first, the directory last. It is the same object where nothing is removed.

    Raises:
        FormatFault: as `check_whole`.
    """
    check_whole(data)
    layout = _read_directory(data)
    order, tiled = layout.order, _TILES in layout.entries
    parts = [data[start : start + size] for start, size in _list_parts(layout)]
    if layout.read(_CODING, _PLAIN) == _JPEG:
        parts = [jpeg.strip_metadata(part) for part in parts]
    places, at = [], 8
    for part in parts:
        places.append(at)
        at += len(part) + len(part) % 2
    entries = {tag: _shorten(entry, order) for tag, entry in layout.entries.items() if tag in _KEPT}
    if profile := entries.get(_PROFILE):
        entries[_PROFILE] = profile._replace(content=blank_texts(profile.content))
    entries[_TILES if tiled else _STRIPS] = _encode_longs(order, places)
    entries[_TILE_BYTES if tiled else _STRIP_BYTES] = _encode_longs(order, [len(part) for part in parts])
    magic = b"II*\0" if order == "<" else b"MM\0*"
    pixels = b"".join(part + bytes(len(part) % 2) for part in parts)
    stripped = magic + struct.pack(order + "I", at) + pixels + _encode_directory(order, entries, at)
    return data if stripped == data else stripped


def _decode_header(layout: _TiffLayout) -> TiffHeader:
    width, height = layout.read(_WIDTH), layout.read(_HEIGHT)
    bits, samples = set(layout.list_values(_BITS, 1)), layout.read(_SAMPLES, 1)
    coding, colours, form = layout.read(_CODING, _PLAIN), layout.read(_COLOURS), set(layout.list_values(_FORMAT, 1))
    if not (width and height):
        raise FormatFault("a side of no pixels")
    if coding not in _CODINGS:
        raise Unsupported(f"pixels in TIFF's coding {coding}: save it as PNG")
    if samples not in _SAMPLES_OF.get(colours, ()):
        raise Unsupported(f"{samples} samples a pixel of TIFF's colours {colours}: save it as PNG")
    depth = (max(bits), max(form))
    allowed = [(1, 1), (2, 1), (4, 1), (8, 1), *([(16, 1), (32, 3)] if colours in _DEEP else [])]
    if len(bits) > 1 or len(form) > 1 or depth not in allowed:
        raise Unsupported(f"samples of {max(bits)} bits of TIFF's format {max(form)}: save it as PNG")
    alpha = colours == _RGB and samples == 4
    # libtiff multiplies colours of 8 bits by their alpha where the file says that they are not; without a word on what
    # the fourth sample is, it takes them as they are.
    premultiplied = alpha and layout.read(_ALPHA, 0) in ((1, 2) if max(bits) == 8 else (1,))
    inverted = colours == _INVERTED and max(bits) > 8
    channels = 3 if colours == _PALETTE else samples
    return TiffHeader(width, height, max(bits), channels, depth[1] == 3, inverted, premultiplied)


def _find_grid(layout: _TiffLayout, header: TiffHeader) -> tuple[int, int, int, int]:
    """Return how many strips or tiles are beside each other and below each other, and their width and height."""
    if _TILES not in layout.entries:
        rows = min(layout.read(_ROWS_PER_STRIP, header.height), header.height)
        if not rows:
            raise FormatFault("strips of no rows")
        return 1, -(-header.height // rows), header.width, rows
    width, height = layout.read(_TILE_WIDTH), layout.read(_TILE_HEIGHT)
    if not (0 < width < header.width + _MAX_TILE and 0 < height < header.height + _MAX_TILE):
        raise FormatFault("tiles of no size, or far larger than the image")
    return -(-header.width // width), -(-header.height // height), width, height


def _list_parts(layout: _TiffLayout) -> list[tuple[int, int]]:
    """Return offset and size of every strip or tile."""
    tiled = _TILES in layout.entries
    starts = layout.list_values(_TILES if tiled else _STRIPS)
    sizes = layout.list_values(_TILE_BYTES if tiled else _STRIP_BYTES)
    if len(starts) != len(sizes):
        raise FormatFault("not as many sizes of strips or tiles as offsets")
    return list(zip(starts, sizes, strict=True))


def _read_directory(data: bytes) -> _TiffLayout:
    """Return the first directory.

    Raises:
        FormatFault: it is not a TIFF file, or a type is none that TIFF has.
        Truncated: the directory or a value of a tag that is kept lies beyond the end.
    """
    if len(data) < 16:
        raise Truncated("ends inside the header")
    order = {b"II": "<", b"MM": ">"}.get(data[:2], "")
    if not order:
        raise FormatFault("no byte order")
    version = struct.unpack_from(f"{order}H", data, 2)[0]
    if version not in (42, 43):
        raise FormatFault("neither TIFF nor BigTIFF")
    number, entry_size, number_size = ("Q", 20, 8) if version == 43 else ("I", 12, 4)
    (at,) = struct.unpack_from(order + number, data, 8 if version == 43 else 4)
    head = "Q" if version == 43 else "H"
    if at + struct.calcsize(head) > len(data):
        raise Truncated("the first directory lies beyond the end")
    (count,) = struct.unpack_from(order + head, data, at)
    at += struct.calcsize(order + head)
    if at + count * entry_size + number_size > len(data):
        raise Truncated("ends inside the first directory")
    entries: dict[int, _TiffEntry] = {}
    for place in range(at, at + count * entry_size, entry_size):
        tag, kind, length = struct.unpack_from(f"{order}HH{number}", data, place)
        if tag not in _KEPT and tag != _ORIENTATION:
            continue
        if kind not in _TYPE_SIZES:
            raise FormatFault("a value of no type that TIFF has")
        size, start = _TYPE_SIZES[kind] * length, place + 4 + number_size
        if size > number_size:
            (start,) = struct.unpack_from(order + number, data, start)
        if start + size > len(data):
            raise Truncated("a value lies beyond the end")
        entries.setdefault(tag, _TiffEntry(kind, length, data[start : start + size]))
    return _TiffLayout(order, entries)


def _shorten(entry: _TiffEntry, order: str) -> _TiffEntry:
    """Return an entry without 64-bit numbers, which TIFF does not have.

    Raises:
        FormatFault: a number is larger.
    """
    if entry.kind != 16:
        return entry
    return _encode_longs(order, list(struct.unpack(f"{order}{entry.length}Q", entry.content)))


def _encode_longs(order: str, values: list[int]) -> _TiffEntry:
    if max(values, default=0) >= 1 << 32:
        raise FormatFault("larger than TIFF can be")
    return _TiffEntry(_LONG, len(values), struct.pack(f"{order}{len(values)}I", *values))


def _encode_directory(order: str, entries: Mapping[int, _TiffEntry], at: int) -> bytes:
    """Return the directory that begins at `at`, and the values that do not fit into it."""
    end = at + 2 + 12 * len(entries) + 4
    rows, values = [struct.pack(order + "H", len(entries))], []
    for tag, entry in sorted(entries.items()):
        content = entry.content
        if len(content) > 4:
            values.append(content + bytes(len(content) % 2))
            content = struct.pack(order + "I", end)
            end += len(values[-1])
        rows.append(struct.pack(order + "HHI", tag, entry.kind, entry.length) + content.ljust(4, b"\0"))
    return b"".join([*rows, bytes(4), *values])
