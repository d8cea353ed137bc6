"""Decode the audio of a video with PyAV from bytes in memory, mix it to one channel, and resample it with soxr.

OpenCV decodes no audio, and libsndfile reads no video container. The container's format is given, not guessed, and no
protocol is allowed: a file that names other files or addresses gets none of them.
"""

import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from pipeline.modalities.audio.decode import LOOKAHEAD, MAX_RATE, MIN_RATE, UndecodableError, mix_to_mono, resample
from pipeline.modalities.audio.mel import Samples
from pipeline.modalities.native_stderr import silence_stderr

if TYPE_CHECKING:
    from av.container import InputContainer

Span = tuple[float, float | None]
"""Start and end in seconds; None for the end of the video."""


def read_soundtrack(data: bytes, container: str, span: Span, seconds: float, rate: int) -> Samples:
    """Return the first `seconds` of the span, mono, at `rate` Hz, of the video's first audio stream.

    It is empty where there is none, or none in the span; audio that begins late keeps its start. `container` is a name
    of FFmpeg's: mov, matroska or avi.

    Raises:
        UndecodableError: the decoder cannot open it, or fails on the way, or its rate is impossible.
    """
    import av

    with silence_stderr():
        try:
            with av.open(io.BytesIO(data), "r", container, options={"protocol_whitelist": "none"}) as file:
                found = _read_span(file, span, seconds, rate) if file.streams.audio else None
        except (av.FFmpegError, ValueError):  # a ValueError where the audio changes its format on the way
            raise UndecodableError from None
    if found is None:
        return np.empty(0, np.float32)
    samples, native = found
    return resample(samples, native, rate)[: int(rate * seconds)]


def _read_span(file: "InputContainer", span: Span, seconds: float, rate: int) -> tuple[Samples, int]:
    """Return the samples of the span and as many after it as the resampler reads, and their rate in Hz."""
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
    """Yield the whole audio a packet at a time, mono, each with the number of its first sample from the video's
    start."""
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
