"""Decode recordings a block at a time with libsndfile or FFmpeg, mix them to one channel, and resample them with soxr.

Samples are float32, full scale ±1: (frames, channels) as decoded, (frames,) once mono.
"""

import io
import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault
from pipeline.modalities.audio.block import Block, UndecodableError
from pipeline.modalities.audio.ffmpeg import read_blocks_by_ffmpeg
from pipeline.modalities.audio.formats import FORMATS
from pipeline.modalities.audio.mel import Samples
from pipeline.modalities.audio.mono import Mono, find_cancelled, mix_to_mono
from pipeline.modalities.native_stderr import silence_stderr
from pipeline.runtime.stopwatch import clock
from pipeline.tables.drops import Reason, Rejection

if TYPE_CHECKING:
    from soundfile import SoundFile

MAX_PEAK = 1e12
"""Full scale is 1; beyond this, energies of long frames come near the largest number of float32."""

REJECTED_PEAK = Rejection(Reason.NONFINITE, "a sample is NaN, or beyond any recording", limit=f"{MAX_PEAK:g}")

_BLOCK = 1 << 16
"""Frames decoded at a time: memory for what a header claims is never allocated at once."""

LOOKAHEAD = 256
"""Samples of the lower rate after a cut that soxr's filter still reads; measured: what follows after 256 changes no
sample by more than 1e-6."""

Span = tuple[float, float | None]
"""Start and end in seconds; None for the end of the recording."""


def load_decoder() -> None:
    """Import what decodes and resamples, for the processes that are forked from this one."""
    import soundfile  # noqa: F401
    import soxr  # noqa: F401


def read_blocks(data: bytes, media_type: str) -> Iterator[Block]:
    """Yield the whole recording in blocks of one length, but for the last.

    Raises:
        UndecodableError: the decoder cannot open it, or fails on the way.
    """
    return _join_blocks(_walk_blocks(data, media_type))


def read_clip(data: bytes, media_type: str, span: Span, seconds: float, rate: int) -> Block:
    """Return the first `seconds` of the span at the recording's own rate, and as many samples after them as resampling
    to `rate` reads.

    Nothing beyond is decoded. The clip is empty where the span lies beyond the end of the recording.

    Raises:
        UndecodableError: as `read_blocks`.
    """
    form = FORMATS[media_type]
    if form.entered and not form.container:
        found = _enter(data, form.split, span, seconds, rate)
        if found is not None:
            return found
    return take_span(_walk_blocks(data, media_type), span, seconds, rate)


def take_span(blocks: Iterable[Block], span: Span, seconds: float, rate: int) -> Block:
    """Return what `read_clip` does, of blocks from the start on; they may begin late."""
    parts: list[NDArray[np.float32]] = []
    native = rate
    for samples, native, at in blocks:
        start = round(span[0] * native)
        end = start + _count_needed(span, seconds, native, rate)
        if at >= end:
            break
        part = samples[max(0, start - at) : end - at]
        if len(part):
            parts.append(part)
    return Block(np.concatenate(parts) if parts else np.empty((0, 1), np.float32), native, 0)


def make_clip(block: Block, mono: Mono, seconds: float, rate: int) -> Samples | Rejection:
    """Return a block of `read_clip` as one channel at `rate` Hz, cut to `seconds`; or why it is dropped: its channels
    cancel each other."""
    mixed = mix_to_mono(block.samples, mono)
    if mono == "mean" and (rejection := find_cancelled(block.samples, mixed)):
        return rejection
    return resample(mixed, block.rate, rate)[: int(rate * seconds)]


def resample(samples: Samples, rate: int, to: int) -> Samples:
    """Return one channel of `rate` Hz resampled to `to` Hz, in soxr's quality `HQ`."""
    import soxr

    if rate == to or not samples.size:
        return samples
    with clock("resample"):
        resampled: Samples = soxr.resample(samples, rate, to, quality="HQ")
    return resampled


def _count_needed(span: Span, seconds: float, native: int, rate: int) -> int:
    """Frames of a span that a clip takes."""
    needed = math.ceil(seconds * native + LOOKAHEAD * max(1.0, native / rate))
    return needed if span[1] is None else min(round(span[1] * native) - round(span[0] * native), needed)


def _enter(data: bytes, split: Callable[[bytes], list[bytes]], span: Span, seconds: float, rate: int) -> Block | None:
    """Return the clip where the decoder can begin at its start; None where it has to begin at the recording's."""
    import soundfile

    try:
        if len(split(data)) > 1:
            return None
        with clock("decode audio"), soundfile.SoundFile(io.BytesIO(data)) as file:
            native = file.samplerate
            start = round(span[0] * native)
            needed = min(_count_needed(span, seconds, native, rate), file.frames - start)
            if needed <= 0:
                return Block(np.empty((0, 1), np.float32), native, 0)
            if start and not file.seekable():
                return None
            if start:
                file.seek(start)
            parts = list(_read_frames(file, needed))
    except (soundfile.LibsndfileError, FormatFault):
        raise UndecodableError from None
    return Block(
        parts[0] if len(parts) == 1 else np.concatenate([np.empty((0, file.channels), np.float32), *parts]), native, 0
    )


def _walk_blocks(data: bytes, media_type: str) -> Iterator[Block]:
    form, at = FORMATS[media_type], 0
    if form.container:
        for samples, rate, start in read_blocks_by_ffmpeg(data, form.container):
            kept = samples[max(0, -start) :]  # a file may say to leave out what lies before its start
            if len(kept):
                yield Block(kept, rate, at)
                at += len(kept)
        return
    try:
        for link in form.split(data):
            for samples, rate in _walk_file(link):
                yield Block(samples, rate, at)
                at += len(samples)
    except FormatFault:
        raise UndecodableError from None


def _walk_file(data: bytes) -> Iterator[tuple[NDArray[np.float32], int]]:
    import soundfile

    try:
        with silence_stderr():  # libmpg123 writes there about damaged files
            file = soundfile.SoundFile(io.BytesIO(data))
        with file:
            for samples in _read_frames(file, None):
                yield samples, file.samplerate
    except soundfile.LibsndfileError:
        raise UndecodableError from None


def _join_blocks(blocks: Iterable[Block]) -> Iterator[Block]:
    """Yield the same samples in blocks of `_BLOCK`, but for the last; those of silence before the first too."""
    waiting: list[NDArray[np.float32]] = []
    held, at, rate = 0, 0, 0
    for block in blocks:
        samples, rate = block.samples, block.rate
        if not waiting and not held and len(samples) == _BLOCK:
            yield Block(samples, rate, at)
            at += _BLOCK
            continue
        waiting.append(samples)
        held += len(samples)
        while held >= _BLOCK:
            joined = np.concatenate(waiting)
            yield Block(joined[:_BLOCK], rate, at)
            waiting, held, at = [joined[_BLOCK:]], held - _BLOCK, at + _BLOCK
    if held:
        yield Block(np.concatenate(waiting), rate, at)


def _read_frames(file: "SoundFile", frames: int | None) -> Iterator[NDArray[np.float32]]:
    """Yield the next `frames`, or all, in blocks."""
    left = math.inf if frames is None else frames
    while left > 0 and len(block := _read_block(file, int(min(left, _BLOCK)))):
        left -= len(block)
        yield block


def _read_block(file: "SoundFile", frames: int) -> NDArray[np.float32]:
    with clock("decode audio"), silence_stderr():
        block: NDArray[np.float32] = file.read(frames, dtype="float32", always_2d=True)
    return block
