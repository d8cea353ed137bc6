"""Open a video, and decode the frames that are shown at given times, by seeking to the key frame before each."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from shardwright.datasets.read_context import Content
from shardwright.ops.container import open_container
from shardwright.ops.resize import Pixels

MATROSKA = b"\x1aE\xdf\xa3"
SEEK_AGAIN = 5.0
"""Seconds from one frame to the next beyond which decoding begins anew at a key frame: they lie 2 to 10 s apart."""
LATE = 1.0
"""Seconds that a video may end before its header says; the last frame lasts until then."""
MICROSECOND = 1e-6
"""FFmpeg's unit of the duration of a container."""


class Frame(NamedTuple):
    """A frame: its pixels, uint8 (height, width, 3), RGB, upright; its time in ticks of the stream, and whether its
    decoder doubts it."""

    pixels: Pixels
    tick: int
    is_doubted: bool


class Video:
    """The first video stream of an open file.

    Attributes:
        seconds: from the first frame to the end, as the header says.
    """

    def __init__(self, file: Any, stream: Any) -> None:
        self._file, self._stream = file, stream
        self._start: int = stream.start_time or 0
        self._last: tuple[Any, Frame] | None = None
        self.seconds = _read_duration(file, stream, self._start)

    def read_frames(self, times: Sequence[float]) -> Iterator[Frame]:
        """Yield the frame that is shown at each time: the last one whose time is not after it.

        They are those of the video decoded from its beginning. One decoded frame is in memory, and the next.

        Args:
            times: seconds from the first frame, ascending, below `seconds`.

        Raises:
            ValueError: they cannot be decoded, or the video ends before.
        """
        shown: Any = None
        following: Any = None
        frames: Iterator[Any] = iter(())
        again = round(SEEK_AGAIN / self._stream.time_base)
        for time in times:
            tick = self._start + math.floor(time / float(self._stream.time_base))
            if shown is None or tick - shown.pts > again:
                frames = self._decode_from(tick)
                shown = following = next(frames, None)
            while following is not None and following.pts <= tick:
                shown, following = following, next(frames, None)
            if shown is None or (following is None and self._ends_before(shown, tick)):
                raise ValueError(f"it has no frame at {time:.3f} s; its header declares {self.seconds:.3f} s")
            yield self._convert(shown)

    def _decode_from(self, tick: int) -> Iterator[Any]:
        """Yield frames from the key frame at or before a time on."""
        for target in (tick, self._start):
            self._file.seek(target, stream=self._stream)
            frames = self._decode()
            first = next(frames, None)
            if first is not None and (first.pts <= tick or target == self._start):
                yield first
                yield from frames
                return

    def _decode(self) -> Iterator[Any]:
        for frame in self._file.decode(self._stream):
            if frame.pts is None:
                raise ValueError("a frame has no time")
            yield frame

    def _ends_before(self, frame: Any, tick: int) -> bool:
        return bool((tick - frame.pts - (frame.duration or 0)) * self._stream.time_base > LATE)

    def _convert(self, frame: Any) -> Frame:
        """Return the frame as pixels; one that is shown at several times is converted once."""
        if self._last is None or self._last[0] is not frame:
            pixels: Pixels = frame.to_ndarray(format="rgb24", threads=1)
            upright = np.rot90(pixels, round(frame.rotation / 90)) if frame.rotation else pixels
            self._last = frame, Frame(upright, frame.pts, frame.is_corrupt)
        return self._last[1]


@contextmanager
def open_video(content: Content, max_pixels: int, max_seconds: float) -> Iterator[Video]:
    """Open a video in MP4, WebM or Matroska, and close it at the end.

    Args:
        content: of the file.
        max_pixels: of a frame, checked before one is decoded.
        max_seconds: of the video, as its header says.

    Raises:
        ValueError: its format is not known, it is damaged, or larger than allowed.
        ModuleNotFoundError: PyAV is not installed.
    """
    data = content if isinstance(content, bytes) else content.tobytes()
    with open_container(data, _find_container(data)) as file:
        stream = next(iter(file.streams.video), None)
        if stream is None or stream.codec_context is None:
            raise ValueError("it has no video that FFmpeg can decode")
        context = stream.codec_context
        context.thread_count = 1
        if not 0 < context.width * context.height <= max_pixels:
            raise ValueError(f"it has {context.width} × {context.height} pixels; max_pixels allows {max_pixels}")
        video = Video(file, stream)
        if not 0 < video.seconds <= max_seconds:
            raise ValueError(f"it has {video.seconds:g} s; max_seconds allows {max_seconds:g}")
        yield video


def _find_container(data: bytes) -> str:
    """Return FFmpeg's name of the container.

    Raises:
        ValueError: it is none of those that are read.
    """
    if data.startswith(MATROSKA):
        return "matroska"
    if data[4:8] in (b"ftyp", b"moov", b"mdat", b"free", b"wide", b"skip"):
        return "mov"
    raise ValueError(f"it begins with {data[:8]!r}; it must be an MP4, WebM or Matroska file")


def _read_duration(file: Any, stream: Any, start: int) -> float:
    """Return the seconds of a stream from its first frame on: as the stream, a tag of it, or the container says; else
    the times of all packets do, none of which is decoded."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    if tag := _parse_tag(stream.metadata.get("DURATION", "")):
        return tag - float(start * stream.time_base)
    if file.duration:
        return float(file.duration * MICROSECOND)
    ends = [packet.pts + (packet.duration or 0) for packet in file.demux(stream) if packet.pts is not None]
    return float((max(ends, default=start) - start) * stream.time_base)


def _parse_tag(text: str) -> float:
    """Return the seconds of a tag such as 00:00:10.033000000, as FFmpeg writes it; 0 where it is something else."""
    try:
        hours, minutes, seconds = (float(part) for part in text.split(":"))
    except ValueError:
        return 0.0
    return hours * 3600 + minutes * 60 + seconds
