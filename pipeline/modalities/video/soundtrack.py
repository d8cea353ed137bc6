"""The sound of a video: decoded by PyAV from bytes in memory, mixed to one channel, resampled by soxr.

OpenCV decodes no sound, and libsndfile reads no container of video. The container's format is given, not guessed, and
no protocol is allowed: a file that names other files, or addresses, gets none of them.
"""

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.modalities.audio.decode import LOOKAHEAD, UndecodableError, mix_to_mono, resample
from pipeline.modalities.audio.features import MAX_RATE, MIN_RATE
from pipeline.modalities.audio.mel import Samples
from pipeline.modalities.native_stderr import silence_stderr

if TYPE_CHECKING:
    from av.container import InputContainer

Span = tuple[float, float | None]
"""Start and end in seconds; None for the end of the video."""


def read_soundtrack(data: bytes, container: str, span: Span, seconds: float, rate: int) -> Samples:
    """The first `seconds` of the span, mono, at `rate` Hz, of the first sound that the video has.

    It is empty where there is none, or none in the span; a sound that sets in late begins where it does. `container` is
    a name of FFmpeg's: mov, matroska or avi.

    Raises:
        UndecodableError: the decoder cannot open it, or gives up on the way, or its rate is none.
    """
    import av

    with silence_stderr():
        try:
            with av.open(io.BytesIO(data), "r", container, options={"protocol_whitelist": "none"}) as file:
                found = _read_span(file, span, seconds, rate) if file.streams.audio else None
        except (av.FFmpegError, ValueError):  # a ValueError where the sound changes its format on the way
            raise UndecodableError from None
    if found is None:
        return np.empty(0, np.float32)
    samples, native = found
    return resample(samples, native, rate)[: int(rate * seconds)]


def _read_span(file: "InputContainer", span: Span, seconds: float, rate: int) -> tuple[Samples, int]:
    """The samples of the span and as many after it as the resampler looks at, and their rate in Hz."""
    context = file.streams.audio[0].codec_context
    if context is None or not MIN_RATE <= context.sample_rate <= MAX_RATE:  # None: of a codec that FFmpeg does not know
        raise UndecodableError
    native = context.sample_rate
    start = round(span[0] * native)
    end = start + math.ceil(seconds * native + LOOKAHEAD * max(1.0, native / rate))
    if span[1] is not None and span[1] * native < end:
        end = round(span[1] * native)
    parts = [np.empty(0, np.float32)]
    for at, part in _read_parts(file):
        if at >= end:
            break
        parts.append(part[max(0, start - at) : end - at])
    return np.concatenate(parts), native


def _read_parts(file: "InputContainer") -> Iterator[tuple[int, Samples]]:
    """The whole sound a packet at a time, mono, each with the number of its first sample from the video's start on."""
    from av import AudioResampler

    stream = file.streams.audio[0]
    stream.codec_context.thread_count = 1
    to_floats = AudioResampler(format="fltp")
    at = None
    for frame in file.decode(stream):
        if at is None:
            at = round((frame.time or 0.0) * frame.sample_rate)
        for part in to_floats.resample(frame):
            mono = mix_to_mono(part.to_ndarray().T.astype(np.float32, copy=False))
            yield at, mono
            at += len(mono)
