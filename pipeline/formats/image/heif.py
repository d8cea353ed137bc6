"""Read the header and orientation of AVIF and HEIC files, check that they are complete and strip metadata.

Both are HEIF: boxes that list items (images, EXIF, XMP), where the bytes of each are, their properties, and what refers
to what. ISO/IEC 23008-12 (HEIF), sections 6 and 9; ISO/IEC 14496-12, section 8.11, for the boxes of items. Of several
images the primary one is read; a sequence in tracks is not.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported
from pipeline.formats.image.heif_items import Item, Property, read_items
from pipeline.formats.image.icc_profile import blank_texts
from pipeline.formats.iso_boxes import Box, free_box, walk_boxes
from pipeline.formats.video.header import overwrite
from shardwright.format.exif_orientation import UPRIGHT

_CODED = {b"av01": b"av1C", b"hvc1": b"hvcC"}
"""The items that are coded images, with the property that has the settings of their decoder."""
_GRID = b"grid"
_PART_OF, _AUXILIARY = b"dimg", b"auxl"
_ALPHA_NAMES = (b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0")
_KEPT_AT_TOP = (b"ftyp", b"meta", b"mdat")
_KEPT_IN_META = (b"hdlr", b"pitm", b"iloc", b"iinf", b"iref", b"iprp", b"idat", b"dinf")
_WORDS = (b"udes", b"altt", b"uuid", b"cmin", b"cmex", b"crtt", b"mdft")
"""Properties that hold text, dates or what the camera knew of itself."""
_PROFILES = (b"prof", b"rICC")
_HANDLER_NAME = 24  # where the name begins in `hdlr`
_ORIENTATIONS = {
    (0, None): 1, (0, 1): 2, (0, 0): 4, (1, None): 8, (1, 0): 5, (1, 1): 7,
    (2, None): 3, (2, 0): 2, (2, 1): 4, (3, None): 6, (3, 0): 7, (3, 1): 5,
}  # fmt: skip
"""EXIF's orientation by quarter turns against the clock, and the mirroring after it: 0 top to bottom, 1 left to right,
None none."""
MAX_TILES = 4096


@dataclass(frozen=True, slots=True)
class HeifHeader:
    """Size in pixels as stored, before orientation; bits of a sample; channels: 1, or 3, or 4 with alpha."""

    width: int
    height: int
    bits: int
    channels: int


class CodedTile(NamedTuple):
    """A coded image: its bytes, and the settings of the decoder."""

    data: bytes
    settings: bytes


class Grid(NamedTuple):
    """An image of coded tiles in reading order, `columns` a row, cut to `width` and `height`.

    `matrix` is the number of the matrix of its YCbCr (ITU-T H.273), and `full_range` whether samples have all levels;
    None where the file leaves both to the coded images.
    """

    tiles: list[CodedTile]
    columns: int
    width: int
    height: int
    matrix: int | None = None
    full_range: bool | None = None


def read_header(data: bytes) -> HeifHeader:
    """Return the header of the primary image.

    Raises:
        FormatFault: it is not a HEIF file, or lacks what describes its primary image.
        Unsupported: there is a sequence only, or an image that is derived in a way that no decoder here knows.
        Truncated: the file ends inside a box.
    """
    primary, items = _read_primary(data)
    size = primary.find(b"ispe")
    if size is None or len(size.content) < 12:
        raise FormatFault("an image without its size")
    width, height = struct.unpack_from(">II", size.content, 4)
    if not (width and height):
        raise FormatFault("a side of no pixels")
    depth = (primary.find(b"pixi") or Property(b"", b"")).content[4:]
    bits, grey = (max(depth[1:]), depth[0] == 1) if len(depth) > 1 else (8, False)
    channels = 1 if grey else 3
    return HeifHeader(width, height, bits, 4 if _list_alpha(primary, items) else channels)


def read_orientation(data: bytes) -> int:
    """Return the orientation, 1 to 8, by the image's own properties: in HEIF those count and not EXIF."""
    primary, _ = _read_primary(data)
    turn, mirror = primary.find(b"irot"), primary.find(b"imir")
    angle = turn.content[0] & 3 if turn and turn.content else 0
    axis = mirror.content[0] & 1 if mirror and mirror.content else None
    return _ORIENTATIONS.get((angle, axis), UPRIGHT)


def check_whole(data: bytes) -> None:
    """Check that every box is complete, and that the bytes of the primary image and of its parts are in the file.

    Raises:
        Truncated: they are not.
        FormatFault: as `read_header`.
    """
    read_header(data)
    for item in _list_kept(*_read_primary(data)).values():
        if not item.extents:
            raise FormatFault("an image without bytes")
        if max(end for _, end in item.extents) > len(data):
            raise Truncated("an image's bytes lie beyond the end")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with the primary image and its alpha only: with zeros for EXIF, XMP, thumbnails, other images,
    sequences, names, and all bytes that belong to no image.

    No byte moves, as these files are full of offsets. It is the same object where nothing is removed.

    Raises:
        FormatFault: as `check_whole`.
    """
    check_whole(data)
    primary, items = _read_primary(data)
    kept = _list_kept(primary, items)
    edits: list[tuple[int, bytes]] = []
    spans = sorted(extent for item in kept.values() for extent in item.extents)
    for box in walk_boxes(data, 0, len(data)):
        if box.name not in _KEPT_AT_TOP:
            edits += free_box(box)
        elif box.name == b"mdat":
            edits += _clear_between(spans, box.body, box.end)
        elif box.name == b"meta":
            edits += _plan_meta_edits(data, box, spans)
        else:
            edits += [(at, b"avif") for at in range(box.body, box.end - 3, 4) if data[at : at + 4] == b"avis"]
    for number, item in items.items():
        edits += item.forget(keep_kind=number in kept)
    return overwrite(data, edits)


def read_grids(data: bytes) -> tuple[Grid, Grid | None]:
    """Return the coded images that the primary image is made of, and those of its alpha, None where it has none.

    Raises:
        FormatFault: as `read_header`; or tiles are missing.
    """
    header = read_header(data)
    primary, items = _read_primary(data)
    alpha = _list_alpha(primary, items)
    size = (header.width, header.height)
    return _read_grid(data, primary, items, size), _read_grid(data, alpha[0], items, size) if alpha else None


def _read_grid(data: bytes, item: Item, items: Mapping[int, Item], size: tuple[int, int]) -> Grid:
    colours = next((each.content for each in item.properties if each.content[:4] == b"nclx"), b"")
    told = (struct.unpack_from(">H", colours, 8)[0], bool(colours[10] & 0x80)) if len(colours) > 10 else (None, None)
    if item.kind != _GRID:
        return Grid([_read_tile(data, item)], 1, *size, *told)
    content = item.read(data)
    wide = len(content) >= 2 and content[1] & 1
    if len(content) < (12 if wide else 8):
        raise FormatFault("a grid that is too short")
    rows, columns = content[2] + 1, content[3] + 1
    if struct.unpack_from(">II" if wide else ">HH", content, 4) != size:
        raise FormatFault("a grid of another size than the image")
    tiles = [_read_tile(data, items[number]) for number in item.list_targets(_PART_OF) if number in items]
    if len(tiles) != rows * columns or len(tiles) > MAX_TILES:
        raise FormatFault("not as many tiles as the grid has places")
    return Grid(tiles, columns, *size, *told)


def _read_tile(data: bytes, item: Item) -> CodedTile:
    settings = item.find(_CODED.get(item.kind, b""))
    if settings is None:
        raise FormatFault("a tile without the settings of its decoder")
    return CodedTile(item.read(data), settings.content)


def _read_primary(data: bytes) -> tuple[Item, Mapping[int, Item]]:
    boxes = list(walk_boxes(data, 0, len(data)))
    meta = next((box for box in boxes if box.name == b"meta"), None)
    if not boxes or boxes[0].name != b"ftyp":
        raise FormatFault("no file type where it should begin")
    if meta is None and any(box.name == b"moov" for box in boxes):
        raise Unsupported("a sequence without a still image: save its frames as PNG")
    if meta is None:
        raise Truncated("no box that describes the image")
    number, items = read_items(data, meta)
    primary = items.get(number)
    if primary is None:
        raise FormatFault("the primary image is not in the list")
    if primary.kind not in (*_CODED, _GRID):
        raise Unsupported("an image that is derived from others: save it as PNG")
    return primary, items


def _list_kept(primary: Item, items: Mapping[int, Item]) -> dict[int, Item]:
    """Return the primary image, its alpha, and the tiles of both, by number."""
    kept = {item.number: item for item in (primary, *_list_alpha(primary, items))}
    for item in list(kept.values()):
        if item.kind == _GRID:
            kept |= {number: items[number] for number in item.list_targets(_PART_OF) if number in items}
    return kept


def _list_alpha(primary: Item, items: Mapping[int, Item]) -> list[Item]:
    return [
        item
        for item in items.values()
        if primary.number in item.list_targets(_AUXILIARY)
        and (use := item.find(b"auxC")) is not None
        and use.content[4:].startswith(_ALPHA_NAMES)
    ]


def _plan_meta_edits(data: bytes, meta: Box, spans: list[tuple[int, int]]) -> Iterator[tuple[int, bytes]]:
    for box in walk_boxes(data, meta.body + 4, meta.end):
        if box.name not in _KEPT_IN_META:
            yield from free_box(box)
        elif box.name == b"hdlr":
            yield box.body + _HANDLER_NAME, bytes(max(0, box.end - box.body - _HANDLER_NAME))
        elif box.name == b"idat":
            yield from _clear_between(spans, box.body, box.end)
        elif box.name == b"iprp":
            for part in walk_boxes(data, box.body, box.end):
                for each in walk_boxes(data, part.body, part.end) if part.name == b"ipco" else ():
                    if each.name in _WORDS:
                        yield from free_box(each)
                    elif each.name == b"colr" and data[each.body : each.body + 4] in _PROFILES:
                        yield each.body + 4, blank_texts(data[each.body + 4 : each.end])


def _clear_between(spans: list[tuple[int, int]], at: int, end: int) -> Iterator[tuple[int, bytes]]:
    """Yield zeros for the bytes between two offsets that are in no span; spans are sorted and may overlap."""
    for start, stop in spans:
        if start < end and stop > at:
            if start > at:
                yield at, bytes(start - at)
            at = max(at, stop)
    if at < end:
        yield at, bytes(end - at)
