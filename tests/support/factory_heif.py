"""Make AVIF and HEIC files for tests, box by box, around images that OpenCV and PyAV encode."""

import re
import struct
from fractions import Fraction

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.formats.image.heif import CodedTile, read_grids
from tests.support.factory_media import SECRET, draw_scene, make_exif

_GLOBAL_HEADER = 1 << 22
_XMP = b"application/rdf+xml\0"
_KINDS = {b"avif": (b"av01", b"av1C"), b"heic": (b"hvc1", b"hvcC")}
"""By brand: the kind of a coded image, and the property with the settings of its decoder."""


def encode_avif(pixels: NDArray[np.uint8] | NDArray[np.uint16], depth: int = 8) -> bytes:
    """OpenCV's own file; uint16 pixels of `depth` bits."""
    how = [cv2.IMWRITE_AVIF_DEPTH, depth, cv2.IMWRITE_AVIF_QUALITY, 95, cv2.IMWRITE_AVIF_SPEED, 9]
    return bytes(cv2.imencode(".avif", pixels, how)[1].tobytes())


def encode_av1(pixels: NDArray[np.uint8]) -> CodedTile:
    return read_grids(encode_avif(pixels))[0].tiles[0]


def encode_hevc(pixels: NDArray[np.uint8], pixel_format: str = "yuv420p") -> CodedTile:
    """A still image, (height, width, 3) BGR."""
    coder = av.VideoCodecContext.create("libx265", "w")
    coder.height, coder.width = pixels.shape[:2]
    coder.pix_fmt, coder.time_base, coder.flags = pixel_format, Fraction(1), coder.flags | _GLOBAL_HEADER
    coder.options = {"x265-params": "log-level=none:info=0:pools=none", "crf": "4", "preset": "ultrafast"}
    packets = [*coder.encode(av.VideoFrame.from_ndarray(pixels, "bgr24")), *coder.encode(None)]
    sets = _list_units(bytes(coder.extradata or b""))
    arrays = b"".join(bytes([unit[0] >> 1]) + struct.pack(">HH", 1, len(unit)) + unit for unit in sets)
    settings = b"\1" + bytes(20) + b"\3" + bytes([len(sets)]) + arrays  # lengths of 4 bytes
    units = [unit for packet in packets for unit in _list_units(bytes(packet))]
    return CodedTile(b"".join(struct.pack(">I", len(unit)) + unit for unit in units), settings)


def _list_units(stream: bytes) -> list[bytes]:
    """The units of a stream between start codes (ITU-T H.265, annex B)."""
    return [unit for unit in re.split(b"\0*\0\0\1", stream) if unit]


def cut_tiles(pixels: NDArray[np.uint8], side: int) -> list[NDArray[np.uint8]]:
    """Squares in reading order, filled up with black."""
    height, width = pixels.shape[:2]
    tiles = []
    for top in range(0, height, side):
        for left in range(0, width, side):
            tile = np.zeros((side, side, 3), np.uint8)
            part = pixels[top : top + side, left : left + side]
            tile[: part.shape[0], : part.shape[1]] = part
            tiles.append(tile)
    return tiles


def build_heif(
    brand: bytes,
    size: tuple[int, int],
    tiles: list[CodedTile],
    side: int = 0,
    angle: int = 0,
    mirror: int | None = None,
) -> bytes:
    """A file of (width, height): one tile, or a grid of squares of that side. It has EXIF, XMP, names and other words.

    `angle` counts quarter turns against the clock.
    """
    kind, settings = _KINDS[brand]
    properties = [
        _full(b"ispe", struct.pack(">II", *size)),
        _box(settings, tiles[0].settings),
        _full(b"pixi", b"\3\x08\x08\x08"),
        _full(b"ispe", struct.pack(">II", side or 1, side or 1)),
        _box(b"irot", bytes([angle])),
        _full(b"udes", b"en\0" + SECRET + b"\0\0\0"),
        *([_box(b"imir", bytes([mirror]))] if mirror is not None else []),
    ]
    shown = [0x85, 6, *([0x87] if mirror is not None else [])]  # a turn is essential
    if side:
        rows, columns = -(-size[1] // side), -(-size[0] // side)
        items = [(1, b"grid", struct.pack(">4B2H", 0, 0, rows - 1, columns - 1, *size), [1, 3, *shown])]
        items += [(2 + number, kind, tile.data, [2, 3, 4]) for number, tile in enumerate(tiles)]
    else:
        items = [(1, kind, tiles[0].data, [1, 2, 3, *shown])]
    items.append((100, b"Exif", b"\0\0\0\6Exif\0\0" + make_exif(8), []))
    items.append((101, b"mime", b"<x:xmpmeta>" + SECRET, []))
    parts = [number for number, *_ in items if 1 < number < 100]
    links = [_box(b"cdsc", struct.pack(">HHH", number, 1, 1)) for number in (100, 101)]
    if parts:
        links.append(_box(b"dimg", struct.pack(f">HH{len(parts)}H", 1, len(parts), *parts)))
    named = [
        _full(b"infe", struct.pack(">HH4s", n, 0, each) + SECRET + b"\0" + (_XMP if n == 101 else b""), 2)
        for n, each, *_ in items
    ]
    uses = [struct.pack(">HB", number, len(used)) + bytes(used) for number, *_, used in items]

    def build_head(at: int) -> bytes:
        places = []
        for number, _, content, _ in items:
            places.append(struct.pack(">HHHII", number, 0, 1, at, len(content)))
            at += len(content)
        meta = [
            _full(b"hdlr", bytes(4) + b"pict" + bytes(12) + SECRET + b"\0"),
            _full(b"pitm", struct.pack(">H", 1)),
            _full(b"iloc", struct.pack(">HH", 0x4400, len(items)) + b"".join(places)),
            _full(b"iinf", struct.pack(">H", len(items)) + b"".join(named)),
            _full(b"iref", b"".join(links)),
            _box(b"iprp", _box(b"ipco", *properties) + _full(b"ipma", struct.pack(">I", len(items)) + b"".join(uses))),
            _box(b"uuid", SECRET),
        ]
        return _box(b"ftyp", brand + bytes(4) + b"mif1" + brand) + _full(b"meta", b"".join(meta))

    content = b"".join(content for _, _, content, _ in items)
    return build_head(len(build_head(0)) + 8) + _box(b"mdat", content + SECRET)


def make_dirty_avif(angle: int = 3) -> bytes:
    return build_heif(b"avif", (120, 90), [encode_av1(draw_scene())], angle=angle)


def make_dirty_heic(angle: int = 3) -> bytes:
    """A grid of four tiles."""
    return build_heif(b"heic", (120, 90), [encode_hevc(tile) for tile in cut_tiles(draw_scene(), 64)], 64, angle)


def _box(name: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", len(content) + 8, name) + content


def _full(name: bytes, content: bytes, version: int = 0) -> bytes:
    return _box(name, struct.pack(">I", version << 24), content)
