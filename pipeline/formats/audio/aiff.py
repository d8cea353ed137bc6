"""Read the header of AIFF and AIFF-C files, check that they are complete and strip metadata, without decoding a sample.

Chunks as in RIFF, with numbers the other way round. Apple, Audio Interchange File Format 1.3 (1989) and AIFF-C (1991).
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.audio.audio_header import AudioHeader
from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported

_KEPT = (b"FVER", b"COMM", b"SSND")
"""All other chunks hold names, comments, marks, and whatever a program left there."""
_PLAIN = {
    b"NONE": 0,
    b"twos": 0,
    b"sowt": 0,
    b"fl32": 32,
    b"FL32": 32,
    b"fl64": 64,
    b"FL64": 64,
    b"ulaw": 8,
    b"alaw": 8,
}
"""The codings of a sample each: its bits, 0 where the header says."""
_PACKED = {b"ima4": (34, 64)}
"""IMA's ADPCM: the bytes of a packet of one channel, and its samples."""
_COMMON = 18
_OFFSET = 8  # bytes before the samples in their chunk


class _AiffChunk(NamedTuple):
    """`size` bytes of content from `body` on, as declared; the file may have fewer."""

    name: bytes
    body: int
    size: int


def read_header(data: bytes) -> AudioHeader:
    """Return the fields of the common chunk.

    Raises:
        FormatFault: it is not an AIFF file, or its numbers are impossible.
        Unsupported: a coding that no decoder here reads.
        Truncated: the file ends before its common chunk does.
    """
    return _decode_common(data)[0]


def check_whole(data: bytes) -> None:
    """Check that all samples that the header declares are present.

    Raises:
        Truncated: they are not.
        FormatFault: as `read_header`.
    """
    header, needed = _decode_common(data)
    sound = next((chunk for chunk in _walk_chunks(data) if chunk.name == b"SSND"), None)
    if sound is None:
        if header.frames:
            raise Truncated("no samples")
        return
    if min(sound.body + sound.size, len(data)) < sound.body + _OFFSET + needed:
        raise Truncated("fewer samples than declared")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with its version, common and sound chunks only, and correct lengths. It is the same object where
    nothing is removed.

    Raises:
        FormatFault: it is not an AIFF file.
    """
    first = {chunk.name: chunk for chunk in reversed(list(_walk_chunks(data)))}
    kept = [first[name] for name in _KEPT if name in first]
    content = data[8:12] + b"".join(_encode_chunk(data, chunk) for chunk in kept)
    stripped = b"FORM" + struct.pack(">I", len(content)) + content
    return data if stripped == data else stripped


def _encode_chunk(data: bytes, chunk: _AiffChunk) -> bytes:
    content = data[chunk.body : chunk.body + chunk.size]
    if chunk.name == b"COMM" and data[8:12] == b"AIFC":
        content = content[: _COMMON + 4] + b"\0\0"  # the coding, and no name of it
    return chunk.name + struct.pack(">I", len(content)) + content + bytes(len(content) % 2)


def _decode_common(data: bytes) -> tuple[AudioHeader, int]:
    """Return the header, and how many bytes its samples take."""
    common = next((chunk for chunk in _walk_chunks(data) if chunk.name == b"COMM"), None)
    if common is None or common.body + common.size > len(data):
        raise Truncated("no common chunk")
    packed = data[8:12] == b"AIFC"
    if common.size < _COMMON + 4 * packed:
        raise FormatFault("the common chunk is too short")
    channels, count, bits, exponent, mantissa = struct.unpack_from(">HIHHQ", data, common.body)
    coding = data[common.body + _COMMON : common.body + _COMMON + 4] if packed else b"NONE"
    if not channels or not 0x3FFF <= exponent <= 0x3FFF + 62:
        raise FormatFault("no channels, or an impossible rate")
    rate = round(mantissa / 2.0 ** (0x3FFF + 63 - exponent))
    if coding in _PACKED:
        size, samples = _PACKED[coding]
        return AudioHeader(rate, channels, count * samples), count * size * channels
    if coding not in _PLAIN:
        raise Unsupported(f"samples in the coding {coding.decode('latin-1')!r}: save it as FLAC")
    width = -(-(_PLAIN[coding] or bits) // 8)
    if not width or width > 8:
        raise FormatFault("samples of impossible bits")
    return AudioHeader(rate, channels, count), count * width * channels


def _walk_chunks(data: bytes) -> Iterator[_AiffChunk]:
    """Yield the chunks as far as the bytes go.

    Raises:
        FormatFault: it is not AIFF.
        Truncated: there are fewer bytes than its head has.
    """
    if len(data) < 12:
        raise Truncated("ends inside the head")
    if data[:4] != b"FORM" or data[8:12] not in (b"AIFF", b"AIFC"):
        raise FormatFault("not AIFF")
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from(">4sI", data, at)
        yield _AiffChunk(name, at + 8, size)
        at += 8 + size + size % 2
