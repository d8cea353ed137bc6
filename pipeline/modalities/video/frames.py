"""Decode frames of a video with OpenCV one after another, on the calling thread, from bytes in memory.

There is no file name, so no name can reach a shell or a URL; and no more than one frame is held at its full size.
"""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.formats.type_names import AVI, MATROSKA, MP4, WEBM
from pipeline.formats.video import avi, matroska, mp4
from pipeline.formats.video.header import VideoHeader
from pipeline.modalities.audio.block import UndecodableError
from pipeline.modalities.image.pixels import Pixels, Size, load_opencv
from pipeline.modalities.native_stderr import silence_stderr

PARSERS = {MP4: mp4, WEBM: matroska, MATROSKA: matroska, AVI: avi}
"""The parser of each media type of this modality."""


@dataclass(frozen=True)
class DecodedFrames:
    """The frames that `read_frames` returns, and how many the decoder went over to find them."""

    frames: list[Pixels]
    decoded: int


def find_size(header: VideoHeader) -> Size:
    """Return the height and width of a video's frames as stored."""
    return header.height, header.width


def space_evenly(count: int, first: int, end: int) -> list[int]:
    """Return the middles of `count` equal parts of the range from `first` up to before `end`."""
    return [first + (2 * part + 1) * (end - first) // (2 * count) for part in range(count)]


def read_frames(
    data: bytes, size: Size, numbers: Sequence[int], fit: Callable[[Pixels], Pixels], end: int
) -> DecodedFrames:
    """Return the frames with these numbers, each as `fit` makes it of uint8 (height, width, 3), RGB, upright.

    They are decoded from the first on, since few files can be entered at any frame. `numbers` never goes down and may
    name a frame twice; the last frame found stands for those that the file lacks.

    Args:
        data: the file.
        size: height and width of its frames as stored.
        numbers: counted from 0.
        fit: makes a frame smaller.
        end: stop before this number.

    Raises:
        UndecodableError: the decoder cannot open it, gives none of the frames, or frames of another size.
    """
    cv2 = load_opencv()
    times = Counter(numbers)
    frames: list[Pixels] = []
    decoded = 0
    with silence_stderr():
        try:
            capture = cv2.VideoCapture(io.BytesIO(data), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            _check_size(capture, size)
            while decoded < end and capture.grab():
                if decoded in times:
                    frames += [fit(_retrieve(capture))] * times[decoded]
                decoded += 1
        except cv2.error:
            raise UndecodableError from None
    if not frames:
        raise UndecodableError
    return DecodedFrames(frames + frames[-1:] * (len(numbers) - len(frames)), decoded)


def _check_size(capture: Any, size: Size) -> None:
    """A header may give a small size to pass the check, and the frames have another. Rotated frames come upright."""
    cv2 = load_opencv()
    found = [round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
    if sorted(found) != sorted(size):
        raise UndecodableError


def _retrieve(capture: Any) -> Pixels:
    cv2 = load_opencv()
    decoded, frame = capture.retrieve()
    if not decoded:
        raise UndecodableError
    rgb: Pixels = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    return rgb
