"""Read the samples of WAV files where they are, without a decoder.

Chunks and formats are those of "Multimedia Programming Interface and Data Specifications 1.0" (IBM and Microsoft,
1991), of WAVEFORMATEXTENSIBLE (Microsoft, 2001), and of RF64 for more than 4 GB (EBU Tech 3306). Values are those of
libsndfile: integers divided by 2^(bits - 1).
"""

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardwright.ops.audio.audio_file import AudioFile, Samples
from shardwright.ops.audio.libsndfile import open_by_libsndfile

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
UNKNOWN_SIZES = (0, 0x7FFFFFFF, 0xFFFFFFFF)
"""What programs that write to a pipe, and never learn the size, leave in the header."""


class WavLayout(NamedTuple):
    """How samples are stored: format (1 integers, 3 floats), channels, rate in Hz, bytes a frame, bits a sample."""

    code: int
    channels: int
    rate: int
    frame_bytes: int
    bits: int


def _scale_bytes(stored: NDArray[Any]) -> Samples:
    return (stored.astype(np.float32) - 128) * np.float32(2.0**-7)


def _scale_3_bytes(stored: NDArray[Any]) -> Samples:
    """Integers of three bytes, uint8 (frames, channels, 3)."""
    wide = np.zeros((*stored.shape[:2], 4), np.uint8)
    wide[..., 1:] = stored
    return wide.view("<i4")[..., 0].astype(np.float32) * np.float32(2.0**-31)


@np.errstate(over="ignore")
def _round_doubles(stored: NDArray[Any]) -> Samples:
    return stored.astype(np.float32)


READERS: Mapping[tuple[int, int], tuple[str, Callable[[NDArray[Any]], Samples]]] = {
    (PCM, 8): ("u1", _scale_bytes),
    (PCM, 16): ("<i2", lambda stored: stored.astype(np.float32) * np.float32(2.0**-15)),
    (PCM, 24): ("u1", _scale_3_bytes),
    (PCM, 32): ("<i4", lambda stored: stored.astype(np.float32) * np.float32(2.0**-31)),
    (FLOAT, 32): ("<f4", lambda stored: stored.astype(np.float32)),
    (FLOAT, 64): ("<f8", _round_doubles),
}
"""By format and bits: the dtype that is stored, and what makes float32 (frames, channels) of it."""


class Wav:
    """Samples of a WAV file in memory, see `AudioFile`."""

    doubt: str | None = None

    def __init__(self, data: bytes, layout: WavLayout, start: int, frames: int) -> None:
        self.rate, self.channels, self.frames = layout.rate, layout.channels, frames
        dtype, self._convert = READERS[layout.code, layout.bits]
        shape = (frames, layout.channels, 3) if layout.bits == 24 else (frames, layout.channels)
        self._stored = np.frombuffer(data, dtype, frames * layout.frame_bytes // int(dtype[-1]), start).reshape(shape)

    def read(self, start: int, stop: int) -> Samples:
        """See `AudioFile.read`."""
        return self._convert(self._stored[start:stop])


@contextmanager
def open_wav(data: bytes, max_values: int) -> Iterator[AudioFile]:
    """Open a WAV file; libsndfile reads those whose samples are coded, such as ADPCM.

    Raises:
        ValueError: see `open_audio`; also where the header declares more samples than there are.
    """
    layout, start, size = _read_header(data)
    present = len(data) - start
    if size in UNKNOWN_SIZES:
        size = present
    if size > present:
        raise ValueError(f"its header declares {size} bytes of samples; there are {present}")
    if (layout.code, layout.bits) not in READERS or layout.frame_bytes != layout.channels * layout.bits // 8:
        with open_by_libsndfile(data, max_values) as file:
            yield file
        return
    yield Wav(data, layout, start, size // layout.frame_bytes)


def _read_header(data: bytes) -> tuple[WavLayout, int, int]:
    """Return how samples are stored, where they begin, and the bytes of them that the header declares.

    Raises:
        ValueError: there is no such header.
    """
    at, layout, long_size = 12, None, 0xFFFFFFFF
    while data[8:12] == b"WAVE" and at + 8 <= len(data):
        name, size = data[at : at + 4], int.from_bytes(data[at + 4 : at + 8], "little")
        if name == b"ds64" and size >= 16:
            long_size = int.from_bytes(data[at + 16 : at + 24], "little")
        if name == b"fmt " and size >= 16 and at + 24 <= len(data):
            code, channels, rate, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", data, at + 8)
            if code == EXTENSIBLE and size >= 26:
                code = int.from_bytes(data[at + 32 : at + 34], "little")
            layout = WavLayout(code, channels, rate, frame_bytes, bits)
        if name == b"data":
            if layout is None or not layout.channels or not layout.frame_bytes:
                break
            return layout, at + 8, long_size if size == 0xFFFFFFFF else size
        at += 8 + size + size % 2
    raise ValueError("it has no WAV header: 'RIFF', 'WAVE', 'fmt ' with channels, and 'data'")
