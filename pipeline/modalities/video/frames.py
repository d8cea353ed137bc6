"""Decode frames of a video with OpenCV one after another, on the calling thread, from bytes in memory.

Frames are uint8 (height, width, 3), BGR, or of animated images (height, width, 4), BGRA with straight alpha; upright.

There is no file name, so no name can reach a shell or a URL; and no more than one frame is held at its full size.
"""

import io
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.video.header import VideoHeader
from pipeline.modalities.audio.block import UndecodableError
from pipeline.modalities.image.pixels import Pixels, Size, load_opencv
from pipeline.modalities.native_stderr import silence_stderr
from pipeline.modalities.video.animation import draw_frames
from pipeline.modalities.video.formats import FORMATS


@dataclass(frozen=True)
class DecodedFrames:
    """The frames that `read_frames` returns, and how many the decoder went over to find them."""

    frames: list[Pixels]
    decoded: int


@dataclass(frozen=True)
class VideoFile:
    """The bytes of a video, their media type, and the height and width of its frames as stored."""

    data: bytes
    media_type: str
    size: Size


def open_video(data: bytes, media_type: str, header: VideoHeader) -> VideoFile:
    """Return a file whose header was read."""
    return VideoFile(data, media_type, (header.height, header.width))


def space_evenly(count: int, first: int, end: int) -> list[int]:
    """Return the middles of `count` equal parts of the range from `first` up to before `end`."""
    return [first + (2 * part + 1) * (end - first) // (2 * count) for part in range(count)]


def read_frames(video: VideoFile, numbers: Sequence[int], fit: Callable[[Pixels], Pixels], end: int) -> DecodedFrames:
    """Return the frames with these numbers, each as `fit` makes it of the decoded pixels.

    They are decoded from the first on, since few files can be entered at any frame. `numbers` never goes down and may
    name a frame twice; the last frame found stands for those that the file lacks.

    Args:
        video: the file.
        numbers: counted from 0.
        fit: turns a frame into RGB, and makes it smaller.
        end: stop before this number.

    Raises:
        UndecodableError: the decoder cannot open it, gives none of the frames, or frames of another size.
    """
    times = Counter(numbers)
    frames: list[Pixels] = []
    decoded = 0
    for retrieve in _walk_frames(video):
        if decoded in times:
            frames += [fit(retrieve())] * times[decoded]
        decoded += 1
        if decoded == end:
            break
    if not frames:
        raise UndecodableError
    return DecodedFrames(frames + frames[-1:] * (len(numbers) - len(frames)), decoded)


def _walk_frames(video: VideoFile) -> Iterator[Callable[[], Pixels]]:
    """Yield for each frame what gives its pixels, before the next is asked for."""
    walk = FORMATS[video.media_type].walk_frames
    try:
        if walk is None:
            yield from _capture_frames(video)
        else:
            for canvas in draw_frames(walk(video.data), video.size):
                yield canvas.copy
    except (FormatFault, load_opencv().error):
        raise UndecodableError from None


def _capture_frames(video: VideoFile) -> Iterator[Callable[[], Pixels]]:
    cv2 = load_opencv()
    with silence_stderr():
        capture = cv2.VideoCapture(io.BytesIO(video.data), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    _check_size(capture, video.size)
    while _grab(capture):
        yield lambda: _retrieve(capture)


def _grab(capture: Any) -> bool:
    with silence_stderr():
        return bool(capture.grab())


def _check_size(capture: Any, size: Size) -> None:
    """A header may give a small size to pass the check, and the frames have another. Rotated frames come upright."""
    cv2 = load_opencv()
    found = [round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
    if sorted(found) != sorted(size):
        raise UndecodableError


def _retrieve(capture: Any) -> Pixels:
    with silence_stderr():
        decoded, frame = capture.retrieve()
    if not decoded:
        raise UndecodableError
    pixels: Pixels = frame
    return pixels
