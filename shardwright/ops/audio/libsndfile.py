"""Read FLAC, Ogg (Vorbis, Opus) and MP3 files by libsndfile, from the span's first sample on.

Its seeks are exact: a span has the samples of the whole file, decoded from the beginning, to the last bit. Of Opus they
differ by 1e-7 where decoding begins at the span, and by nothing 4,096 frames before it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from shardwright.ops.audio.audio_file import AudioFile, DecodedAudio, Samples, check_size
from shardwright.ops.explain_missing import explain_missing

FORMATS = ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3")
OPUS_MARGIN = 8_192
"""Frames before the span from which Opus is decoded: its state has then forgotten where it began."""
OGG_PAGE, OGG_HEADER, OGG_END = b"OggS", 27, 4
"""How a page begins, the bytes of its header, of which the last counts the segments that follow, and the flag of the
last page."""
UNKNOWN = 2**62
"""libsndfile counts more than this where a FLAC file was written to a pipe and never learnt its length."""
BLOCK = 1 << 16
"""Frames that are decoded at a time where the length is not known."""


class SndFile:
    """A file that libsndfile decodes, see `AudioFile`."""

    def __init__(self, file: Any, doubt: str | None) -> None:
        self.doubt = doubt
        self.rate, self.channels, self.frames = file.samplerate, file.channels, file.frames
        self._file = file
        self._margin = OPUS_MARGIN if file.subtype == "OPUS" else 0

    def read(self, start: int, stop: int) -> Samples:
        """See `AudioFile.read`."""
        first = max(0, start - self._margin)
        if first:
            self._file.seek(first)
        samples: Samples = self._file.read(stop - first, dtype="float32", always_2d=True)
        if len(samples) != stop - first:
            raise ValueError(f"it ends after {first + len(samples)} frames; its header declares {self.frames}")
        return samples[start - first :]


@contextmanager
def open_by_libsndfile(data: bytes, max_values: int) -> Iterator[AudioFile]:
    """Open a file by libsndfile.

    Raises:
        ValueError: see `open_audio`.
        ModuleNotFoundError: soundfile is not installed.
    """
    with explain_missing("audio is decoded"):
        import soundfile
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            if file.format not in FORMATS:
                raise ValueError(f"its format is {file.format}; it must be one of {', '.join(FORMATS)}")
            file.seekable = _never
            yield SndFile(file, _find_cut(data)) if file.frames < UNKNOWN else _decode_all(file, max_values)
    except soundfile.SoundFileError as error:
        raise ValueError(f"libsndfile cannot decode it: {error}") from error


def _never() -> bool:
    """Stand in for `SoundFile.seekable`: soundfile seeks after each read, to where the file is already. That decodes a
    frame once more, and fails where the length is not known."""
    return False


def _find_cut(data: bytes) -> str | None:
    """Return why an Ogg file seems to have been cut: its last page is incomplete, or is not marked as the last one of
    its stream (RFC 3533, section 6)."""
    at = data.rfind(OGG_PAGE)
    if not data.startswith(OGG_PAGE) or at + OGG_HEADER > len(data):
        return None
    segments = at + OGG_HEADER
    first = segments + data[segments - 1]
    if data[at + 5] & OGG_END and first + sum(data[segments:first]) <= len(data):
        return None
    return "its last page is incomplete or does not end the stream: the file may have been cut"


def _decode_all(file: Any, max_values: int) -> AudioFile:
    """Decode a file whose length is not known, up to its end."""
    parts: list[Samples] = [np.empty((0, file.channels), np.float32)]
    frames = 0
    while len(block := file.read(BLOCK, dtype="float32", always_2d=True)):
        frames += len(block)
        check_size(frames, file.channels, max_values)
        parts.append(block)
    return DecodedAudio(np.concatenate(parts), file.samplerate)
