"""Read AAC and what else MP4 and Matroska files hold, by FFmpeg's decoders.

The container's format is given, not guessed, and no protocol is allowed: a file that names other files or addresses
gets none of them. MP4 files are entered before the span. Those of Matroska round times to milliseconds and ADTS has
none, so these are decoded from their beginning.
"""

import math
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import numpy as np

from shardwright.ops.audio.audio_file import AudioFile, DecodedAudio, Samples, check_size
from shardwright.ops.container import open_container

MARGIN = 8_192
"""Samples before the span from which decoding begins: AAC overlaps frames of 1,024 (2,048 with SBR), and one of MP3
takes bits from up to 9 before it (ISO/IEC 11172-3, section 2.4.2.7)."""
FRAME = 2_048
"""Samples of the longest frame of AAC; a file may lack so many at its end, because durations are rounded."""


class Mp4Audio:
    """The first audio stream of an MP4 file, see `AudioFile`.

    A span has the samples of the whole stream, decoded from the beginning. The exception is noise that AAC does not
    store: where an encoder left a band to the decoder (perceptual noise substitution, ISO/IEC 14496-3, section
    4.6.13), the noise is the same at each reading of the span, and other noise than in the whole.
    """

    doubt: str | None = None

    def __init__(self, file: Any, stream: Any) -> None:
        self.rate, self.channels = stream.codec_context.sample_rate, stream.codec_context.layout.nb_channels
        self.frames = round(stream.duration * stream.time_base * self.rate)
        self._file, self._stream = file, stream
        self._origin = (stream.start_time or 0) * stream.time_base

    def read(self, start: int, stop: int) -> Samples:
        """See `AudioFile.read`."""
        if start > MARGIN:
            seconds = self._origin + (start - MARGIN) / self.rate
            self._file.seek(math.floor(seconds / self._stream.time_base), stream=self._stream)
        parts, first, end = [], None, 0
        for time, samples in _decode(self._file, self._stream):
            if first is None:
                first = end = round((time - float(self._origin)) * self.rate)
            parts.append(samples)
            end += len(samples)
            if end >= stop:
                break
        if first is None or first > start or end < min(stop, self.frames - FRAME):
            raise ValueError(f"it has no samples from {start} to {stop} of {self.frames} that its header declares")
        parts.append(np.zeros((max(0, stop - end), self.channels), np.float32))
        return np.concatenate(parts)[start - first : stop - first]


@contextmanager
def open_mp4(data: bytes, max_values: int) -> Iterator[AudioFile]:
    """Open the audio of an MP4 file such as m4a.

    Raises:
        ValueError: see `open_audio`; also where the file was cut.
        ModuleNotFoundError: PyAV is not installed.
    """
    with open_container(data, "mov") as file:
        stream = _find_stream(file)
        if stream.duration is None or stream.duration <= 0:
            yield _decode_all(file, stream, max_values)
        else:
            yield Mp4Audio(file, stream)


@contextmanager
def _open_whole(data: bytes, max_values: int, container: str) -> Iterator[AudioFile]:
    with open_container(data, container) as file:
        yield _decode_all(file, _find_stream(file), max_values)


def open_matroska(data: bytes, max_values: int) -> AbstractContextManager[AudioFile]:
    """Open the audio of a Matroska or WebM file, decoded whole."""
    return _open_whole(data, max_values, "matroska")


def open_adts(data: bytes, max_values: int) -> AbstractContextManager[AudioFile]:
    """Open an AAC file, decoded whole."""
    return _open_whole(data, max_values, "aac")


def _find_stream(file: Any) -> Any:
    """Return the first audio stream.

    Raises:
        ValueError: there is none, or nothing decodes it.
    """
    stream = next(iter(file.streams.audio), None)
    if stream is None or stream.codec_context is None:
        raise ValueError("it has no audio that FFmpeg can decode")
    stream.codec_context.thread_count = 1
    return stream


def _decode(file: Any, stream: Any) -> Iterator[tuple[float, Samples]]:
    """Yield the time in seconds and the samples of each frame, float32 (frames, channels).

    Raises:
        ValueError: the rate or the channels change.
    """
    from av import AudioResampler

    to_floats = AudioResampler(format="fltp")
    context = stream.codec_context
    form = context.sample_rate, context.layout.nb_channels
    for frame in file.decode(stream):
        if (frame.sample_rate, frame.layout.nb_channels) != form:
            raise ValueError(f"its rate and channels change from {form} on the way")
        for part in to_floats.resample(frame):
            yield 0.0 if frame.time is None else frame.time, part.to_ndarray().T.astype(np.float32, copy=False)


def _decode_all(file: Any, stream: Any, max_values: int) -> AudioFile:
    parts: list[Samples] = []
    frames, rate = 0, stream.codec_context.sample_rate
    for _, samples in _decode(file, stream):
        frames += len(samples)
        check_size(frames, samples.shape[1], max_values)
        parts.append(samples)
    if not parts:
        raise ValueError("it has no samples")
    return DecodedAudio(np.concatenate(parts), rate)
