"""Read when each frame of a video is shown, and find those of a span where frames last for different times.

Phones and screen recorders write videos of a varying rate. Times are in seconds from the first frame, float64
(frames,), in the order in which frames are shown; they stand in the container, so no frame is decoded.
"""

import io

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.video.header import VideoHeader
from pipeline.modalities.audio.block import UndecodableError
from pipeline.modalities.audio.decode import Span
from pipeline.modalities.native_stderr import silence_stderr
from pipeline.modalities.video.formats import FORMATS

ROUNDING = 0.0011
"""Seconds: Matroska rounds times to milliseconds."""


def read_times(data: bytes, media_type: str) -> NDArray[np.float64]:
    """Return the times of all frames; none where the container has none.

    Raises:
        UndecodableError: the container cannot be opened.
        FormatFault: as the parser of an animated image.
    """
    import av

    container, walk_frames = FORMATS[media_type].container, FORMATS[media_type].walk_frames
    if walk_frames is not None:
        ends = np.cumsum([frame.seconds for frame in walk_frames(data)])
        return np.append(0.0, ends[:-1])
    with silence_stderr():
        try:
            with av.open(io.BytesIO(data), "r", container, options={"protocol_whitelist": "none"}) as file:
                packets = file.demux(video=0) if file.streams.video else []
                times = [
                    float(packet.pts * packet.time_base)
                    for packet in packets
                    if packet.pts is not None and packet.time_base is not None and not packet.is_discard
                ]
        except (av.FFmpegError, ValueError):
            raise UndecodableError from None
    shown = np.sort(np.array(times, np.float64))
    return shown - shown[0] if len(shown) else shown


def is_even(times: NDArray[np.float64], header: VideoHeader) -> bool:
    """Return whether all frames last as long, up to rounding and half a frame; also where times are not known for as
    many frames as the header lists."""
    if len(times) != header.frames or len(times) < 2:
        return True
    frame = header.seconds / header.frames
    off = np.abs(times - np.arange(len(times)) * frame).max()
    return bool(off <= max(ROUNDING, frame / 2))


def find_shown(times: NDArray[np.float64], span: Span, count: int) -> list[int]:
    """Return the numbers of the frames that are shown in the middles of `count` equal parts of a span that has an
    end."""
    start, end = span
    assert end is not None
    middles = start + (2 * np.arange(count) + 1) * (end - start) / (2 * count)
    numbers: list[int] = np.maximum(np.searchsorted(times, middles + ROUNDING / 2, side="right") - 1, 0).tolist()
    return numbers
