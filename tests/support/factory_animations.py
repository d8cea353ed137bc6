"""Make animated GIF and WebP files for tests."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.factory_media import SECRET


def encode_animation(frames: Sequence[NDArray[np.uint8]], form: str, delays: Sequence[int], **options: Any) -> bytes:
    """A file of `form`, GIF or WEBP, of frames (height, width, 3 or 4), each shown for so many milliseconds."""
    first, *others = map(Image.fromarray, frames)
    file = io.BytesIO()
    options = {"lossless": True} | options if form == "WEBP" else options
    first.save(file, form, save_all=True, append_images=others, duration=list(delays), **options)
    return file.getvalue()


def encode_rgba_gif(frames: Sequence[NDArray[np.uint8]], places: Sequence[tuple[int, int]], disposal: int) -> bytes:
    """A GIF on the canvas of the first frame, each frame at (left, top), of 100 ms, removed by one disposal.

    Its frames are taken from GIFs of one frame each."""
    height, width = frames[0].shape[:2]
    parts = [b"GIF89a", struct.pack("<HHBBB", width, height, 0, 0, 0)]
    for frame, (left, top) in zip(frames, places, strict=True):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "GIF")
        still = file.getvalue()
        palette = 3 << (still[10] & 7) + 1
        image = still.index(b"\x2c", 13 + palette)
        see_through = still.find(b"\x21\xf9\x04", 13 + palette, image)
        flags, index = (still[see_through + 3] & 1, still[see_through + 6]) if see_through >= 0 else (0, 0)
        parts.append(b"\x21\xf9\x04" + struct.pack("<BHBB", disposal << 2 | flags, 10, index, 0))
        parts.append(struct.pack("<BHHHHB", 0x2C, left, top, frame.shape[1], frame.shape[0], 0x80 | still[10] & 7))
        parts.append(still[13 : 13 + palette] + still[image + 10 : -1])
    return b"".join([*parts, b"\x3b"])


def compose_with_pillow(data: bytes) -> list[NDArray[np.uint8]]:
    """The frames as Pillow shows them, RGBA."""
    with Image.open(io.BytesIO(data)) as file:
        shown = []
        for number in range(getattr(file, "n_frames", 1)):
            file.seek(number)
            shown.append(np.asarray(file.convert("RGBA")))
        return shown


def compose_with_ffmpeg(data: bytes) -> list[NDArray[np.uint8]]:
    """The frames of a GIF as FFmpeg shows them, RGBA."""
    with av.open(io.BytesIO(data), "r", "gif") as file:
        return [np.asarray(frame.to_ndarray(format="rgba"), np.uint8) for frame in file.decode(video=0)]


def make_dirty_gif(gif: bytes) -> bytes:
    """The file with a comment before its frames, a text of a program after them, and bytes after its end."""
    palette = 3 << (gif[10] & 7) + 1 if gif[10] & 0x80 else 0
    comment = b"\x21\xfe" + bytes([len(SECRET)]) + SECRET + b"\0"
    program = b"\x21\xff\x0bXMP DataXMP" + bytes([len(SECRET)]) + SECRET + b"\0"
    return gif[: 13 + palette] + comment + gif[13 + palette : -1] + program + b"\x3b" + SECRET
