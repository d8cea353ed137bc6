"""Decode, blend, turn and resize images with OpenCV, on the calling thread.

Pixels are uint8 arrays (height, width, 3) with axes HWC in the order R, G, B, unless a docstring says otherwise.
"""

from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.native_stderr import silence_stderr
from pipeline.runtime.stopwatch import clock

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""Height and width."""
Fit = Literal["crop", "pad", "stretch"]
Colour = tuple[int, int, int]
"""R, G, B, 0 to 255."""
Depth = Literal["type", "minmax"] | tuple[float, float]
"""How levels of more than 8 bits become 0 to 255: from all that the type can hold, from the least and the most of the
image, or from two given levels."""

MEAN_FROM = 1.125
"""The factor from which on an axis is shrunk by area means and not by linear interpolation. On 39 drawings of 240 × 240
with lines and letters, and on 12 of bare shapes, compared with an ideal low-pass (Lanczos of three lobes),
interpolation is off by 4.15 and 3.61 levels at 1.07, 3.98 and 3.68 at 1.19 (root mean square), area means by 4.32 and
3.74, and 4.09 and 3.53. And interpolation takes OpenCV a quarter of the time: 0.12 ms from 240 to 224."""


FULL_LEVELS = {"uint8": 255.0, "uint16": 65535.0, "float32": 1.0}
"""The largest level of each type of pixels."""


@cache
def load_opencv() -> Any:
    """Return the module cv2, limited to the calling thread: its thread pool does not survive a fork, and the work is
    spread over processes."""
    with clock("load libraries"):
        import cv2

    cv2.setNumThreads(0)
    return cv2


def decode_pixels(data: bytes, reduction: int = 1, grey: bool = False) -> NDArray[Any] | None:
    """Return the pixels as OpenCV decodes them: grey, BGR or BGRA, not turned; None if it cannot.

    `reduction` 2, 4 or 8 decodes a JPEG at 1 / reduction of its size, in BGR or in grey: the decoder then skips
    frequencies that shrinking would discard (640 × 480 to 224: 725 a second instead of 434).
    """
    cv2 = load_opencv()
    flags = cv2.IMREAD_UNCHANGED
    if reduction > 1:
        kind = "GRAYSCALE" if grey else "COLOR"
        flags = getattr(cv2, f"IMREAD_REDUCED_{kind}_{reduction}") | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        with clock("decode image"), silence_stderr():
            pixels: NDArray[Any] | None = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error:  # a size beyond what OpenCV itself allows
        return None
    return pixels


def find_levels(pixels: NDArray[Any], depth: Depth) -> tuple[float, float]:
    """Return the levels that become 0 and 255, of grey, BGR or BGRA pixels of more than 8 bits; alpha does not count.

    The type of uint16 holds 0 to 65535, that of floats 0 to 1.
    """
    if depth == "minmax":
        colours = pixels[..., :3] if pixels.ndim == 3 else pixels
        return float(colours.min()), float(colours.max())
    return (0.0, FULL_LEVELS[pixels.dtype.name]) if depth == "type" else depth


def scale_levels(pixels: NDArray[Any], levels: tuple[float, float]) -> Pixels:
    """Return grey, BGR or BGRA pixels, uint16 or float32, as uint8: `levels` become 0 and 255, and what lies beyond
    them too. Alpha is scaled from all that its type can hold."""
    cv2 = load_opencv()
    low, high = levels
    full = FULL_LEVELS[pixels.dtype.name]
    if (low, high) == (0.0, full) and pixels.dtype == np.uint16:
        whole: Pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
        return whole
    scaled = (pixels - np.float32(low)) * np.float32(255 / max(high - low, full * 1e-7))
    if pixels.ndim == 3 and pixels.shape[2] == 4:
        scaled[..., 3] = pixels[..., 3] * np.float32(255 / full)
    eight: Pixels = np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)
    return eight


def blend_to_rgb(pixels: NDArray[Any], background: Colour, depth: Depth = "type") -> Pixels:
    """Return 8-bit RGB of decoded pixels: (height, width) grey, (height, width, 3) BGR or 4 BGRA, uint8, uint16 or
    float32; `depth` says how those of more than 8 bits are scaled.

    OpenCV blends transparency onto `background` (R, G, B), to within one level.
    """
    cv2 = load_opencv()
    if pixels.dtype != np.uint8:
        pixels = scale_levels(pixels, find_levels(pixels, depth))
    if pixels.ndim == 2:
        grey: Pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB)
        return grey
    rgb: Pixels = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
    if pixels.shape[2] == 4:
        opacity = cv2.cvtColor(cv2.extractChannel(pixels, 3), cv2.COLOR_GRAY2RGB)
        rgb = cv2.add(cv2.multiply(rgb, opacity, scale=1 / 255), cv2.LUT(opacity, _tabulate_background(background)))
    return rgb


@cache
def _tabulate_background(background: Colour) -> Pixels:
    """The background's part of the blend at each opacity: uint8 (256, 1, 3)."""
    shares = np.arange(255, -1, -1)[:, None, None] / 255
    table: Pixels = np.rint(shares * np.array(background)).astype(np.uint8)
    return table


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """Return `pixels`, (height, width) or (height, width, 3), turned upright from EXIF orientation 1 to 8."""
    cv2 = load_opencv()
    if orientation in (5, 6, 7, 8):
        pixels = cv2.transpose(pixels)
    flip = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}.get(orientation)  # 1 left to right, 0 top to bottom, -1 both
    return pixels if flip is None else cv2.flip(pixels, flip)


def fit_pixels(pixels: Pixels, size: Size, fit: Fit, background: Colour) -> Pixels:
    """Return `pixels` in `size`: their middle cut out, or all of them on `background`, or all of them distorted."""
    with clock("resize image"):
        return _fit(pixels, size, fit, background)


def _fit(pixels: Pixels, size: Size, fit: Fit, background: Colour) -> Pixels:
    if fit == "pad":
        return _pad(resize_pixels(pixels, find_padded_size(pixels.shape[:2], size)), size, background)
    if fit == "crop":
        pixels = take_middle(pixels, find_cropped_size(pixels.shape[:2], size))
    return resize_pixels(pixels, size)


def resize_pixels(pixels: Pixels, size: Size) -> Pixels:
    """Return `pixels` in `size`: shrunk by area means; enlarged, or shrunk by less than `MEAN_FROM`, by linear
    interpolation."""
    cv2 = load_opencv()
    rows, columns = min(size[0], pixels.shape[0]), min(size[1], pixels.shape[1])
    if max(pixels.shape[0] / rows, pixels.shape[1] / columns) >= MEAN_FROM:
        # A view into an image takes OpenCV a quarter longer than a contiguous copy.
        pixels = cv2.resize(np.ascontiguousarray(pixels), (columns, rows), interpolation=cv2.INTER_AREA)
    if pixels.shape[:2] != size:
        pixels = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(pixels)


def take_middle(pixels: Pixels, size: Size) -> Pixels:
    """Return the middle part of that size, a view."""
    top, left = (pixels.shape[0] - size[0]) // 2, (pixels.shape[1] - size[1]) // 2
    return pixels[top : top + size[0], left : left + size[1]]


def find_cropped_size(given: Size, target: Size) -> Size:
    """Return the largest size within `given` that has the aspect ratio of `target`."""
    if given[1] * target[0] > given[0] * target[1]:
        return given[0], max(1, round(given[0] * target[1] / target[0]))
    return max(1, round(given[1] * target[0] / target[1])), given[1]


def find_padded_size(given: Size, target: Size) -> Size:
    """Return the largest size within `target` that has the aspect ratio of `given`."""
    scale = min(target[0] / given[0], target[1] / given[1])
    return max(1, round(given[0] * scale)), max(1, round(given[1] * scale))


def _pad(pixels: Pixels, size: Size, background: Colour) -> Pixels:
    padded = np.empty((*size, 3), np.uint8)
    padded[:] = background
    take_middle(padded, (pixels.shape[0], pixels.shape[1]))[:] = pixels
    return padded
