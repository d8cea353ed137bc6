"""Check images: by their header, then stripped of metadata, then decoded at a reduced size.

Pixels are uint8 arrays (height, width, 3) with axes HWC in the order R, G, B, unless a docstring says otherwise.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.image import jpeg
from pipeline.formats.type_names import JPEG
from pipeline.modalities.image.formats import FORMATS, decode_image
from pipeline.modalities.image.params import WHITE
from pipeline.modalities.image.pixels import (
    FULL_LEVELS,
    Pixels,
    blend_to_rgb,
    decode_pixels,
    find_levels,
    load_opencv,
    resize_pixels,
    scale_levels,
    turn_upright,
)
from pipeline.modalities.image.rules import RULES, ImageCheck, ImageFacts, needs_all_pixels
from pipeline.modalities.image.strict_jpeg import StrictJpeg, decode_strictly
from pipeline.modalities.modality import Checked
from pipeline.modalities.perceptual_hash import SIDE, cap_threshold, compute_perceptual_hash
from pipeline.modalities.rules import check_rules
from pipeline.modalities.strip_file import Parser, Parsers, strip_file
from pipeline.tables.drops import Reason, Rejection

PARSERS = {media_type: form.parser for media_type, form in FORMATS.items()}

HASH_LIMITS = cap_threshold(8.0)
"""Of the perceptual hash. On 792 drawings 99.9 % of copies as JPEG of quality 60 stay within 3 bits, and 7 of 313,000
pairs of different ones come near each other; at 0 it is 91.9 % and 12 pairs, at 32 all and 26."""

_CELL_PIXELS = 8
"""At least, for the side of a cell of the perceptual hash. Thumbnails are off by 0.1 levels then and by 0.8 in the
worst of 36 images, and their bits by 1; with 4 pixels by 0.4, 2.6 and 5."""


def check_image(data: bytes, media_type: str, params: ImageCheck) -> Checked | Rejection:
    """Check an image by its header, strip its metadata, then decode the stripped file, which is what is kept.

    The facts are width and height in pixels as stored, orientation (EXIF, read before it is stripped), and channels.
    """

    def check_header(facts: dict[str, int]) -> Rejection | None:
        return check_rules(RULES, "header", ImageFacts(facts["width"], facts["height"]), params)

    file = strip_file(data, media_type, Parsers(PARSERS, read_facts), check_header, params.damaged)
    if isinstance(file, Rejection):
        return file
    facts, rejection = file.facts, None
    reduction = _plan_reduction(media_type, facts)
    strict = StrictJpeg()
    if media_type == JPEG:
        strict = decode_strictly(file.data, jpeg.read_header(file.data), reduction if reduction > 1 else 8)
        if strict.damaged and params.damaged == "drop":
            return Rejection(Reason.BROKEN, strict.flaw, limit="drop", setting="damaged")
    # Fine detail loses contrast where the image was reduced: then the whole is looked at, as it is for rules that may
    # compare anything.
    for part in (1,) if needs_all_pixels(params) else dict.fromkeys((reduction, 1)):
        reduced = strict.pixels if part > 1 else None
        grey = _decode_grey(file.data, media_type, facts, part) if reduced is None else _measure_grey(reduced)
        if grey is None:
            return Rejection(Reason.BROKEN, "the decoder cannot read the pixels")
        rejection = check_rules(
            RULES, "decoded", ImageFacts(facts["width"], facts["height"], grey.contrast, grey.levels), params
        )
        if rejection is None:
            cells = turn_upright(resize_pixels(grey.levels, (SIDE, SIDE)), facts["orientation"])
            perceptual_hash = compute_perceptual_hash(cells, HASH_LIMITS)
            return Checked(file.data, facts, perceptual_hash, flaw=file.flaw or strict.flaw)
    assert rejection is not None
    return rejection


def read_facts(parser: Parser, data: bytes) -> dict[str, int]:
    """Return the columns of the cleaned table that an image fills, from its headers alone.

    Raises:
        FormatFault: the headers are not as the format demands.
    """
    header = parser.read_header(data)
    return {
        "width": header.width,
        "height": header.height,
        "orientation": parser.read_orientation(data),
        "channels": header.channels,
    }


class _GreyImage(NamedTuple):
    """Grey levels over white, uint8 (height, width), and the contrast of `ImageFacts`."""

    levels: Pixels
    contrast: float


def _plan_reduction(media_type: str, facts: dict[str, int]) -> int:
    """By how much a JPEG is reduced: its decoder reads all of the file in any case, and grey at half of the size takes
    it 1.4 ms for 640 × 480, colours at full size 3."""
    if media_type != JPEG or facts["channels"] not in (1, 3):
        return 1
    side = min(facts["width"], facts["height"])
    return next((part for part in (8, 4, 2) if side >= part * _CELL_PIXELS * SIDE), 1)


def _decode_grey(data: bytes, media_type: str, facts: dict[str, int], reduction: int) -> _GreyImage | None:
    """The image at 1 / `reduction` of its size; None if the decoder cannot read it, or gives another size."""
    pixels = decode_pixels(data, reduction, grey=True) if reduction > 1 else decode_image(data, media_type)
    if pixels is None or pixels.shape[:2] != (-(-facts["height"] // reduction), -(-facts["width"] // reduction)):
        return None
    return _measure_grey(pixels)


def _measure_grey(pixels: NDArray[Any]) -> _GreyImage:
    cv2 = load_opencv()
    grey = _scale_deep(pixels)
    if pixels.ndim == 3:
        grey = cv2.cvtColor(blend_to_rgb(grey, WHITE), cv2.COLOR_RGB2GRAY)
    contrast = float(cv2.meanStdDev(grey)[1].item())
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        full = FULL_LEVELS[pixels.dtype.name]
        opacity = cv2.meanStdDev(cv2.extractChannel(pixels, 3))[1].item() * 255 / full
        contrast = max(contrast, float(opacity))
    return _GreyImage(grey, contrast)


def _scale_deep(pixels: NDArray[Any]) -> Pixels:
    """Pixels of more than 8 bits by the levels that they have, as 12 bits of a camera or a thermal image may take a few
    hundred of 65,536; but 255 levels at least, so that what is even stays even."""
    if pixels.dtype == np.uint8:
        return pixels
    low, high = find_levels(pixels, "minmax")
    return scale_levels(pixels, (low, max(high, low + FULL_LEVELS[pixels.dtype.name] * 255 / 65535)))
