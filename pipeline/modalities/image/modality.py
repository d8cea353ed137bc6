"""Pictures: JPEG and PNG, checked and stripped without re-encoding, and made into RGB tensors or JPEGs of one size.

Pixels are uint8 arrays (height, width, 3) with axes HWC in the order R, G, B, unless a docstring says otherwise.
"""

from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits
from pydantic import model_validator

from pipeline.config.params import Params
from pipeline.formats import jpeg, png
from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.modalities.image.pixels import (
    Fit,
    Pixels,
    Size,
    blend_to_rgb,
    decode_pixels,
    find_cropped_size,
    find_padded_size,
    fit_pixels,
    load_opencv,
    resize_pixels,
    turn_upright,
)
from pipeline.modalities.modality import Checked, MediaItem, Modality, Value
from pipeline.modalities.perceptual_hash import SIDE, compute_perceptual_hash
from pipeline.runtime.stopwatch import clock
from pipeline.tables.drops import Reason, Rejection
from shardwright.format.field import Field
from shardwright.format.jpeg import encode_jpeg

if TYPE_CHECKING:
    from collections.abc import Mapping

FORMATS = {"image/jpeg": jpeg, "image/png": png}
"""The parsers of what this modality takes, by media type."""

Level = Annotated[int, Limits(ge=0, le=255)]
WHITE = (255, 255, 255)

_THRESHOLD = 8.0
"""Of the fingerprint. On 792 drawings 99.9 % of copies as JPEG of quality 60 stay within 3 bits, and 7 of 313,000 pairs
of different ones come near each other; at 0 it is 91.9 % and 12 pairs, at 32 all and 26."""


_CELL_PIXELS = 8
"""At least, for the side of a cell of the fingerprint. Thumbnails are off by 0.1 levels then and by 0.8 in the worst of
36 pictures, and their bits by 1; with 4 pixels by 0.4, 2.6 and 5."""


class ImageCheck(Params):
    """What a picture must be to be kept."""

    max_pixels: Annotated[int, Limits(ge=1)] = 50_000_000
    """Width times height, read in the header before anything is decoded."""
    min_side: Annotated[int, Limits(ge=1)] = 16
    """Pixels of the shorter side."""
    min_contrast: Annotated[float, Limits(ge=0)] = 2.0
    """Standard deviation of the grey levels (0 to 255), or of the transparency, below which a picture is empty."""
    near_bits: Annotated[int, Limits(ge=0, le=16)] = 3
    """Of the 64 bits of the fingerprint, as many as may differ between near-duplicates."""
    near_difference: Annotated[float, Limits(ge=0, le=255)] = 2.0
    """Levels of 255 by which near-duplicates may differ on average over 16 × 16 cells, brought to one brightness and
    contrast."""


class ImageFeatures(Params):
    """What becomes of a picture in the shards."""

    height: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    width: Annotated[int, Limits(ge=1, le=8192)] = 64
    """Pixels."""
    fit: Fit = "crop"
    """Cut to the shape about the centre, or fill up with background, or distort."""
    background: Annotated[tuple[Level, Level, Level], Limits(strict=False)] = WHITE
    """R, G, B under transparency and around what `pad` fits."""
    store: Literal["tensor", "jpeg"] = "tensor"
    """Pixels, or a JPEG file of them: a tenth of the bytes, decoded when they are loaded."""
    quality: Annotated[int, Limits(ge=1, le=100)] = 90
    """Of these JPEG files, as libjpeg counts it."""
    dtype: Literal["uint8", "float16", "float32"] = "uint8"
    """Of a tensor: levels of 0 to 255, or parts of 255 from 0 to 1."""

    @model_validator(mode="after")
    def _check_store(self) -> Self:
        if self.store == "jpeg" and self.dtype != "uint8":
            raise self.refuse("dtype", "it must be uint8, as store is jpeg: JPEG files have levels of 0 to 255")
        return self


def check_image(data: bytes, media_type: str, params: ImageCheck) -> Checked | Rejection:
    """Judge a picture by its header, then strip it, then decode what is left of it, which is what is kept.

    The facts are width, height (as stored), orientation (EXIF, read before it is stripped) and channels.
    """
    if not data:
        return Rejection(Reason.EMPTY, "no bytes")
    if media_type not in FORMATS:
        return Rejection(Reason.UNSUPPORTED_TYPE, "no parser for this type of picture", media_type, ", ".join(FORMATS))
    try:
        facts = read_facts(data, media_type)
        if rejection := _check_size(facts, params):
            return rejection
        FORMATS[media_type].check_whole(data)
        stripped = FORMATS[media_type].strip_metadata(data)
    except Truncated as fault:
        return Rejection(Reason.TRUNCATED, str(fault))
    except FormatFault as fault:
        return Rejection(Reason.BROKEN, str(fault))
    look = _look_at(stripped, facts, _plan_look(media_type, facts))
    if look is not None and look.contrast < params.min_contrast:
        look = _look_at(stripped, facts, 1)  # what is fine-grained has less of it where it was reduced
    if look is None:
        return Rejection(Reason.BROKEN, "the decoder cannot read the pixels")
    if look.contrast < params.min_contrast:
        return Rejection(Reason.FLAT, "the same colour all over", f"{look.contrast:.3g}", f"{params.min_contrast:g}")
    cells = turn_upright(resize_pixels(look.grey, (SIDE, SIDE)), facts["orientation"])
    return Checked(stripped, facts, compute_perceptual_hash(cells, _THRESHOLD))


def read_facts(data: bytes, media_type: str) -> "dict[str, int]":
    """The columns of the cleaned table that a picture fills, from its headers alone.

    Raises:
        FormatFault: the headers are not as the format says.
    """
    if media_type == "image/jpeg":
        frame = jpeg.read_header(data)
        size, orientation, channels = (frame.width, frame.height), jpeg.read_orientation(data), frame.components
    else:
        header = png.read_header(data)
        size, orientation, channels = (header.width, header.height), png.read_orientation(data), header.channels
    return {"width": size[0], "height": size[1], "orientation": orientation, "channels": channels}


def plan_image_fields(params: ImageFeatures) -> "Mapping[str, Field]":
    """`image`: (height, width, 3), axes HWC, RGB, of the dtype in `params`; uint8 as JPEG files."""
    unit = "RGB 0-255" if params.dtype == "uint8" else "RGB 0-1"
    encoding = "jpeg" if params.store == "jpeg" else "npy"
    return {"image": Field(params.dtype, (params.height, params.width, 3), "HWC", unit, encoding=encoding)}


def extract_image(item: MediaItem, params: ImageFeatures, learned: Any) -> "dict[str, Value] | Rejection":
    """The picture upright, over the background, in the size and fit of `params`: `image`, (height, width, 3) of the
    dtype in `params`, or the bytes of a JPEG file of that size."""
    pixels = _decode_for(item, params)
    if pixels is None:
        return Rejection(Reason.BROKEN, "the decoder cannot read the pixels")
    upright = turn_upright(blend_to_rgb(pixels, params.background), item.orientation)
    fitted = fit_pixels(upright, (params.height, params.width), params.fit, params.background)
    if params.store == "jpeg":
        with clock("encode picture"):
            return {"image": encode_jpeg(fitted, params.quality)}
    return {"image": fitted if params.dtype == "uint8" else (fitted / np.float32(255)).astype(params.dtype)}


def prepare_image(params: ImageFeatures) -> None:
    """Load the decoder; every value that the type allows can be carried out."""
    load_opencv()


def _decode_for(item: MediaItem, params: ImageFeatures) -> NDArray[Any] | None:
    """The item's pixels as decoded; those of a JPEG at the smallest part of its size that is enough for `params`."""
    if item.media_type != "image/jpeg":
        return decode_pixels(item.data)
    try:
        header = jpeg.read_header(item.data)
    except FormatFault:
        return None
    size = (header.height, header.width)
    part = _plan_part(size if item.orientation < 5 else size[::-1], params)
    pixels = decode_pixels(item.data, part)
    if pixels is None:
        return None
    # Where the size does not divide, the last row or column stands for fewer pixels than the others.
    return pixels[: max(1, round(size[0] / part)), : max(1, round(size[1] / part))]


def _plan_part(size: Size, params: ImageFeatures) -> int:
    """8, 4, 2 or 1: the most that an upright picture of `size` can be divided by and need not be enlarged then."""
    wanted = (params.height, params.width)
    used = find_cropped_size(size, wanted) if params.fit == "crop" else size
    needed = find_padded_size(size, wanted) if params.fit == "pad" else wanted
    return next((part for part in (8, 4, 2) if used[0] >= part * needed[0] and used[1] >= part * needed[1]), 1)


def _check_size(facts: "Mapping[str, int]", params: ImageCheck) -> Rejection | None:
    width, height = facts["width"], facts["height"]
    shown = f"{width} × {height}"
    if width * height > params.max_pixels:
        return Rejection(Reason.TOO_MANY_PIXELS, "by its header, in width × height", shown, str(params.max_pixels))
    if min(width, height) < params.min_side:
        return Rejection(Reason.TOO_SMALL, "pixels of the shorter side", shown, str(params.min_side))
    return None


class _GreyImage(NamedTuple):
    """Grey levels over white, uint8 (height, width), and the contrast: the larger deviation of those and of opacity."""

    grey: Pixels
    contrast: float


def _plan_look(media_type: str, facts: "Mapping[str, int]") -> int:
    """By how much a JPEG is reduced to be looked at: its decoder reads all of the file in any case, and grey at half of
    the size takes it 1.4 ms for 640 × 480, colours at the whole 3."""
    if media_type != "image/jpeg" or facts["channels"] not in (1, 3):
        return 1
    side = min(facts["width"], facts["height"])
    return next((part for part in (8, 4, 2) if side >= part * _CELL_PIXELS * SIDE), 1)


def _look_at(data: bytes, facts: "Mapping[str, int]", part: int) -> _GreyImage | None:
    """The picture reduced to that part of its size; None if the decoder cannot read it, or it has another size."""
    pixels = decode_pixels(data, part, grey=part > 1)
    if pixels is None or pixels.shape[:2] != (-(-facts["height"] // part), -(-facts["width"] // part)):
        return None
    return _measure_grey(pixels)


def _measure_grey(pixels: NDArray[Any]) -> _GreyImage:
    cv2 = load_opencv()
    grey = pixels
    if pixels.ndim == 3 or pixels.dtype != np.uint8:
        grey = cv2.cvtColor(blend_to_rgb(pixels, WHITE), cv2.COLOR_RGB2GRAY)
    contrast = float(cv2.meanStdDev(grey)[1].item())
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        full = 65535 if pixels.dtype == np.uint16 else 255
        opacity = cv2.meanStdDev(cv2.extractChannel(pixels, 3))[1].item() * 255 / full
        contrast = max(contrast, float(opacity))
    return _GreyImage(grey, contrast)


IMAGE = Modality("image", check_image, plan_image_fields, extract_image, prepare_image, ImageCheck, ImageFeatures)
