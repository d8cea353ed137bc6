"""Decode JPEG files as strictly as libjpeg-turbo can: it reads damaged ones to their end, and warns.

Entropy-coded bytes have no checksum. What is cut out or overwritten shows by codes that the tables lack, by too few or
too many bytes for the pixels, or by restart markers out of place. Not all warnings are damage.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.image.jpeg import SCAN, JpegHeader, list_segments
from pipeline.formats.image.jpeg_zeros import has_zeroed_stretch
from pipeline.runtime.stopwatch import clock

_DAMAGE = {
    "premature end of data segment": "too few bytes for the pixels",
    "extraneous bytes before marker": "too many bytes for the pixels",
    "bad Huffman code": "a code that its tables lack",
    "bad arithmetic code": "an impossible arithmetic code",
    "instead of RST": "a restart marker out of place",
    "Premature end of JPEG file": "ends early",
    "Inconsistent progression sequence": "scans out of their order",
}
"""Our words for libjpeg's warnings of lost pixels (jerror.h), by a part of each."""

_HARMLESS = {
    "unknown JFIF revision": "an unknown JFIF revision",
    "Unknown Adobe color transform": "an unknown Adobe colour transform",
    "Invalid SOS parameters": "odd parameters of a scan",
    "bad ICC marker": "an odd ICC profile",
}
"""Those after which all pixels are there."""

_PADDING = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_PADDED = "padding before its end"
_ZEROED = "a zeroed stretch"


@dataclass(frozen=True, slots=True, eq=False)
class StrictJpeg:
    """What strict decoding shows.

    Attributes:
        pixels: grey levels, uint8 (height, width); None where the decoder gave none, and for CMYK.
        flaw: what it found, at most 40 letters; empty where nothing.
        damaged: whether pixels are lost by that.
    """

    pixels: NDArray[np.uint8] | None = None
    flaw: str = ""
    damaged: bool = False


def decode_strictly(data: bytes, header: JpegHeader, reduction: int) -> StrictJpeg:
    """Decode a JPEG file at 1 / `reduction` of its size, 1, 2, 4 or 8; its parser has accepted it.

    A file that libjpeg-turbo refuses altogether has no flaw here: another decoder may know its variant.
    """
    simplejpeg = _load_decoder()
    colours = "GRAY" if header.channels in (1, 3) else "CMYK"
    least = {"min_height": -(-header.height // reduction), "min_width": -(-header.width // reduction)}
    try:
        with clock("decode image"):
            pixels = simplejpeg.decode_jpeg(data, colours, **least)
    except ValueError as error:
        return _judge(str(error), data)
    if has_zeroed_stretch(data):
        return StrictJpeg(flaw=_ZEROED, damaged=True)
    return StrictJpeg(pixels[..., 0] if colours == "GRAY" else None)


def _judge(warning: str, data: bytes) -> StrictJpeg:
    if (found := _PADDING.search(warning)) and _is_padded(data, int(found[1])):
        return StrictJpeg(flaw=_PADDED)
    for part, flaw in _DAMAGE.items():
        if part in warning:
            return StrictJpeg(flaw=flaw, damaged=True)
    return StrictJpeg(flaw=next((flaw for part, flaw in _HARMLESS.items() if part in warning), ""))


def _is_padded(data: bytes, count: int) -> bool:
    """Return whether the last `count` bytes of the last scan are all 0x00 or all 0xFF: cameras fill up so."""
    _, _, end = [segment for segment in list_segments(data) if segment[0] == SCAN][-1]
    tail = data[max(0, end - count) : end].replace(b"\xff\0", b"\xff")
    return len(set(tail)) == 1 and tail[0] in (0x00, 0xFF)


def _load_decoder() -> Any:
    with clock("load libraries"):
        import simplejpeg

    return simplejpeg
