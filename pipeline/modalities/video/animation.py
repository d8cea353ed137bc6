"""Draw the frames of an animated image one after another on one canvas, each decoded as a still image of its own.

Pixels are uint8 (height, width, 4), BGRA with straight alpha. No more than the canvas and one frame are held.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from pipeline.formats.video.animation import AnimationFrame
from pipeline.modalities.audio.block import UndecodableError
from pipeline.modalities.image.pixels import Pixels, Size, decode_pixels, load_opencv


def draw_frames(frames: Iterable[AnimationFrame], size: Size) -> Iterator[Pixels]:
    """Yield the canvas as each frame leaves it: the same array, changed in place.

    Raises:
        UndecodableError: the decoder cannot read a frame, or gives another size.
    """
    canvas = np.zeros((*size, 4), np.uint8)
    for frame in frames:
        place = canvas[frame.top : frame.top + frame.height, frame.left : frame.left + frame.width]
        before = place.copy() if frame.disposal == "restore" else None
        _lay_over(place, _decode(frame), frame.blended)
        yield canvas
        if frame.disposal != "keep":
            place[:] = 0 if before is None else before


def _decode(frame: AnimationFrame) -> Pixels:
    cv2 = load_opencv()
    pixels = decode_pixels(frame.still)
    if pixels is None or pixels.dtype != np.uint8 or pixels.shape[:2] != (frame.height, frame.width):
        raise UndecodableError
    if pixels.ndim == 2:
        pixels = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    coloured: Pixels = pixels if pixels.shape[2] == 4 else cv2.cvtColor(pixels, cv2.COLOR_BGR2BGRA)
    return coloured


def _lay_over(place: Pixels, pixels: Pixels, blended: bool) -> None:
    """Write `pixels` over `place`, which shows through as far as they are transparent (RFC 9649, section 2.7.1.1)."""
    opacity = pixels[..., 3:]
    if not blended or opacity.min() == 255:
        place[:] = pixels
        return
    if ((opacity == 0) | (opacity == 255)).all():
        np.copyto(place, pixels, where=opacity == 255)
        return
    below = place[..., 3:] * (1 - opacity / np.float32(255))
    total = opacity + below
    place[..., :3] = np.rint(
        (pixels[..., :3] * np.float32(1) * opacity + place[..., :3] * below) / np.maximum(total, 1)
    )
    place[..., 3:] = np.rint(total)
