"""Define a frame of an animated image (GIF, WebP): a still image of its own, laid over those before it."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.video.header import VideoHeader

SHORTEST = 0.011
"""Seconds: frames of a shorter delay, 0 most of all, are shown for `UNHURRIED`, as all browsers show them. Source:
Chromium, `DeferredImageDecoder` and its kin; WebKit bug 36082."""
UNHURRIED = 0.1

Disposal = Literal["keep", "clear", "restore"]
"""What becomes of a frame's place once its time is over: it stays, becomes transparent, or as it was before."""


@dataclass(frozen=True, slots=True)
class AnimationFrame:
    """A frame.

    Attributes:
        left, top, width, height: its place on the canvas, in pixels.
        seconds: how long it is shown.
        disposal: what becomes of its place then.
        blended: whether what is below shows through its transparent pixels; else they replace it.
        still: a file of the same format with this frame alone.
    """

    left: int
    top: int
    width: int
    height: int
    seconds: float
    disposal: Disposal
    blended: bool
    still: bytes


def find_seconds(delay: float) -> float:
    """Return how long a frame of that delay, in seconds, is shown."""
    return UNHURRIED if delay < SHORTEST else delay


def summarize_frames(width: int, height: int, frames: Iterable[AnimationFrame]) -> VideoHeader:
    """Return the header of an animation on a canvas of that size.

    Raises:
        FormatFault: a frame is empty, or lies beyond the canvas.
    """
    count, seconds = 0, 0.0
    for frame in frames:
        empty = not (frame.width and frame.height)
        if empty or frame.left + frame.width > width or frame.top + frame.height > height:
            raise FormatFault("a frame is empty, or lies beyond the canvas")
        count, seconds = count + 1, seconds + frame.seconds
    return VideoHeader(width, height, count, seconds)
