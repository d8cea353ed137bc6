"""Pictures of a video: decoded by OpenCV one after another, on the calling thread, from bytes in memory.

There is no file name, so no name can reach a shell or a URL; and no more than one picture is held at its full size.
"""

import io
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.modalities.audio.decode import UndecodableError
from pipeline.modalities.image.pixels import Pixels, Size, load_opencv
from pipeline.modalities.native_stderr import silence_stderr


@dataclass(frozen=True)
class DecodedFrames:
    """What `read_frames` gives: pictures, and how many the decoder went over to find them."""

    pictures: list[Pixels]
    decoded: int


def read_frames(
    data: bytes, size: Size, wanted: Sequence[int], fit: Callable[[Pixels], Pixels], end: int
) -> DecodedFrames:
    """The pictures whose numbers are `wanted`, each as `fit` makes it of uint8 (height, width, 3), RGB, upright.

    They are decoded from the first on, since few files can be entered at any picture. `wanted` goes up and may name a
    picture twice; the last one that is there stands for those that a file lacks.

    Args:
        data: the file.
        size: height and width of its pictures as stored.
        wanted: numbers from 0 on.
        fit: makes a picture smaller.
        end: stop before this number.

    Raises:
        UndecodableError: the decoder cannot open it, gives none of the pictures, or pictures of another size.
    """
    cv2 = load_opencv()
    times = Counter(wanted)
    pictures: list[Pixels] = []
    decoded = 0
    with silence_stderr():
        try:
            capture = cv2.VideoCapture(io.BytesIO(data), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            _check_size(capture, size)
            while decoded < end and capture.grab():
                if decoded in times:
                    pictures += [fit(_retrieve(capture))] * times[decoded]
                decoded += 1
        except cv2.error:
            raise UndecodableError from None
    if not pictures:
        raise UndecodableError
    return DecodedFrames(pictures + pictures[-1:] * (len(wanted) - len(pictures)), decoded)


def _check_size(capture: Any, size: Size) -> None:
    """A header may say one size to be let in, and the pictures have another. Those on their side come upright."""
    cv2 = load_opencv()
    found = [round(capture.get(side)) for side in (cv2.CAP_PROP_FRAME_HEIGHT, cv2.CAP_PROP_FRAME_WIDTH)]
    if sorted(found) != sorted(size):
        raise UndecodableError


def _retrieve(capture: Any) -> Pixels:
    cv2 = load_opencv()
    there, picture = capture.retrieve()
    if not there:
        raise UndecodableError
    rgb: Pixels = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return rgb
