"""Open an audio file of any known format: which one it is is known by its first bytes, not by its name."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from shardwright.datasets.read_context import Content
from shardwright.ops.audio.audio_file import AudioFile, check_size
from shardwright.ops.audio.ffmpeg import open_adts, open_matroska, open_mp4
from shardwright.ops.audio.libsndfile import open_by_libsndfile
from shardwright.ops.audio.wav import open_wav

Opener = Callable[[bytes, int], AbstractContextManager[AudioFile]]

OPENERS: Mapping[bytes, Opener] = {
    b"RIFF": open_wav,
    b"RF64": open_wav,
    b"fLaC": open_by_libsndfile,
    b"OggS": open_by_libsndfile,
    b"\x1aE\xdf\xa3": open_matroska,
}
"""By the first four bytes."""

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Hz. No recording lies outside; a damaged header would ask for a filter of millions of taps."""

ID3_BYTES = 10
"""Of the header of an ID3v2 tag, whose last four bytes are its size, 7 bits each: ID3v2.4.0, section 3.1."""

ADTS_BYTE, ADTS_MASK = 0xF0, 0xF6
"""The second byte of a frame of AAC in ADTS: the end of 12 bits of sync, and 0 where MPEG audio has the number of its
layer (ISO/IEC 13818-7, table 8; ISO/IEC 11172-3, section 2.4.1.3)."""


@contextmanager
def open_audio(content: Content, max_values: int) -> Iterator[AudioFile]:
    """Open an audio file, and close it at the end.

    Args:
        content: of the file.
        max_values: frames × channels that it may have; more are refused before they are decoded.

    Raises:
        ValueError: its format is not known, it is damaged, empty, or larger than allowed.
        ModuleNotFoundError: the decoder is not installed.
    """
    data = content if isinstance(content, bytes) else content.tobytes()
    with _find_opener(data)(data, max_values) as file:
        if not MIN_RATE <= file.rate <= MAX_RATE:
            raise ValueError(f"its rate is {file.rate} Hz; it must be {MIN_RATE} to {MAX_RATE}")
        check_size(file.frames, file.channels, max_values)
        yield file


def _find_opener(data: bytes) -> Opener:
    """Return what opens a file that begins like this.

    Raises:
        ValueError: nothing does.
    """
    start = _find_start(data)
    head = data[start : start + 8]
    if head[:4] in OPENERS:
        return OPENERS[head[:4]]
    if head[4:] == b"ftyp":
        return open_mp4
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return open_adts if head[1] & ADTS_MASK == ADTS_BYTE else open_by_libsndfile
    raise ValueError(f"it begins with {head!r}; it must be a WAV, FLAC, Ogg, MP3, AAC, MP4 or Matroska file")


def _find_start(data: bytes) -> int:
    """Return where the audio begins, after an ID3v2 tag."""
    if not data.startswith(b"ID3") or len(data) < ID3_BYTES:
        return 0
    size = 0
    for byte in data[6:ID3_BYTES]:
        size = size << 7 | byte & 0x7F
    return ID3_BYTES + size
