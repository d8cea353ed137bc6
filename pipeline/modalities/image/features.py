"""Turn images into RGB tensors, or JPEG files, of one size.

Pixels are uint8 arrays (height, width, 3) with axes HWC in the order R, G, B, unless a docstring says otherwise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.image import jpeg
from pipeline.formats.type_names import JPEG
from pipeline.modalities.image.formats import decode_image
from pipeline.modalities.image.params import ImageFeatures
from pipeline.modalities.image.pixels import (
    Size,
    blend_to_rgb,
    decode_pixels,
    find_cropped_size,
    find_padded_size,
    fit_pixels,
    load_opencv,
    turn_upright,
)
from pipeline.modalities.modality import MediaItem, Value
from pipeline.runtime.stopwatch import clock
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.field import Field
from shardwright.format.jpeg import encode_jpeg


def plan_image_fields(params: ImageFeatures) -> Mapping[str, Field]:
    """Return the field `image`: (height, width, 3), axes HWC, RGB, of the dtype in `params`; uint8 as JPEG files."""
    unit = "RGB 0-255" if params.dtype == "uint8" else "RGB 0-1"
    encoding = "jpeg" if params.store == "jpeg" else "npy"
    return {"image": Field(params.dtype, (params.height, params.width, 3), "HWC", unit, encoding=encoding)}


def extract_image(item: MediaItem, params: ImageFeatures, learned: Any) -> dict[str, Value] | Rejection:
    """Return the image upright, over the background, in the size and fit of `params`.

    `image`: (height, width, 3) of the dtype in `params`, or the bytes of a JPEG file of that size.
    """
    pixels = _decode_for(item, params)
    if pixels is None:
        return Rejection(Reason.BROKEN, "the decoder cannot read the pixels")
    upright = turn_upright(blend_to_rgb(pixels, params.background, params.depth), item.orientation)
    fitted = fit_pixels(upright, (params.height, params.width), params.fit, params.background)
    if params.store == "jpeg":
        with clock("encode image"):
            return {"image": encode_jpeg(fitted, params.quality)}
    return {"image": fitted if params.dtype == "uint8" else (fitted / np.float32(255)).astype(params.dtype)}


def prepare_image(params: ImageFeatures) -> None:
    """Load the decoder; every value that the type allows can be computed."""
    load_opencv()


def _decode_for(item: MediaItem, params: ImageFeatures) -> NDArray[Any] | None:
    """The item's pixels as decoded; those of a JPEG at the smallest part of its size that is enough for `params`."""
    if item.media_type != JPEG:
        return decode_image(item.data, item.media_type)
    try:
        header = jpeg.read_header(item.data)
    except FormatFault:
        return None
    size = (header.height, header.width)
    reduction = _plan_reduction(size if item.orientation < 5 else size[::-1], params)
    pixels = decode_pixels(item.data, reduction)
    if pixels is None:
        return None
    # Where the size does not divide, the last row or column stands for fewer pixels than the others.
    return pixels[: max(1, round(size[0] / reduction)), : max(1, round(size[1] / reduction))]


def _plan_reduction(size: Size, params: ImageFeatures) -> int:
    """8, 4, 2 or 1: the most that an upright image of `size` can be divided by without having to be enlarged then."""
    target = (params.height, params.width)
    used = find_cropped_size(size, target) if params.fit == "crop" else size
    needed = find_padded_size(size, target) if params.fit == "pad" else target
    return next((part for part in (8, 4, 2) if used[0] >= part * needed[0] and used[1] >= part * needed[1]), 1)
