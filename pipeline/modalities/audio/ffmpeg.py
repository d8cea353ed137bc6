"""Decode audio with PyAV from bytes in memory: what libsndfile does not read, and the audio of videos.

The container's format is given, not guessed, and no protocol is allowed: a file that names other files or addresses
gets none of them. Samples are float32, full scale ±1: (frames, channels).
"""

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.audio.block import MAX_RATE, MIN_RATE, Block, UndecodableError
from pipeline.modalities.native_stderr import silence_stderr

if TYPE_CHECKING:
    from av.container import InputContainer


def read_blocks_by_ffmpeg(data: bytes, container: str) -> Iterator[Block]:
    """Yield the first audio stream as it is decoded, a packet at a time; nothing where there is none.

    `container` is a name of FFmpeg's: mov, matroska, avi, mp3 or aac. Audio that begins late keeps its start; of a
    video, times are from its first frame, as a recording of a live stream begins at any time.

    Raises:
        UndecodableError: the decoder cannot open it, or fails on the way, or its rate is impossible, or rate or
        channels
            change.
    """
    import av

    blocks = _open_blocks(data, container)
    while True:
        try:
            with silence_stderr():
                block = next(blocks, None)
        except (av.FFmpegError, ValueError):  # a ValueError where the audio changes its format on the way
            raise UndecodableError from None
        if block is None:
            return
        yield block


def _open_blocks(data: bytes, container: str) -> Iterator[Block]:
    import av

    with av.open(io.BytesIO(data), "r", container, options={"protocol_whitelist": "none"}) as file:
        if file.streams.audio:
            yield from _decode(file)


def _decode(file: "InputContainer") -> Iterator[Block]:
    from av import AudioResampler

    stream = file.streams.audio[0]
    context = stream.codec_context
    if context is None or not MIN_RATE <= context.sample_rate <= MAX_RATE:  # None: of a codec that FFmpeg does not know
        raise UndecodableError
    context.thread_count = 1
    to_floats = AudioResampler(format="fltp")
    at, first, origin = None, None, _find_origin(file)
    for frame in file.decode(stream):
        if at is None:
            at = round(((frame.time or 0.0) - origin) * frame.sample_rate)
        for part in to_floats.resample(frame):
            samples: NDArray[np.float32] = part.to_ndarray().T.astype(np.float32, copy=False)
            first = first or (frame.sample_rate, samples.shape[1])
            if (frame.sample_rate, samples.shape[1]) != first:
                raise UndecodableError
            yield Block(samples, frame.sample_rate, at)
            at += len(samples)


def _find_origin(file: "InputContainer") -> float:
    """Return when the first frame of a video is shown, in seconds of its container; 0 of audio alone."""
    stream = next(iter(file.streams.video), None)
    if stream is None or stream.start_time is None or stream.time_base is None:
        return 0.0
    return float(stream.start_time * stream.time_base)
