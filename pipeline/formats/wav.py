"""Read the header of WAV files, check that they are complete and strip metadata, without decoding a sample.

RIFF is a sequence of chunks: name, length, content, and a zero where the length is odd; RF64 is the same with 64-bit
lengths in a chunk of their own. Microsoft/IBM, Multimedia Programming Interface 1.0 (1991); WAVEFORMATEXTENSIBLE in
Microsoft's mmreg.h; EBU Tech 3306 for RF64.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_KEPT = (b"fmt ", b"fact", b"data")
"""All other chunks hold text, dates, cues, loops and whatever a program left there."""
_IN_64_BITS = 0xFFFFFFFF  # as a 32-bit length: see ds64; in plain RIFF: a stream of unknown length
_DS64_SIZE = 28


@dataclass(frozen=True, slots=True)
class WavHeader:
    """Sample rate in Hz, channels, bits per sample, samples per channel as declared, and those present in the file."""

    rate: int
    channels: int
    bits: int
    frames: int
    present: int


class _WavChunk(NamedTuple):
    """`size` bytes of content from `body` on, as declared; the file may have fewer."""

    name: bytes
    body: int
    size: int


def read_header(data: bytes) -> WavHeader:
    """Return the fields of the format chunk and the length of the data chunk.

    Raises:
        FormatFault: it is not a WAV file, has no format chunk before its data, or a coding that is not PCM, float,
        A-law
            or µ-law; the message has the coding's number.
        Truncated: the file ends before its data chunk begins.
    """
    fmt = b""
    for chunk in _walk_chunks(data):
        if chunk.name == b"fmt ":
            fmt = data[chunk.body : chunk.body + chunk.size]
        if chunk.name == b"data":
            return _decode_format(fmt, chunk, len(data))
    raise Truncated("no data chunk")


def check_whole(data: bytes) -> None:
    """Check that all samples that the header declares are present.

    Raises:
        Truncated: they are not.
        FormatFault: as `read_header`.
    """
    header = read_header(data)
    if header.present < header.frames:
        raise Truncated("fewer samples than declared")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with its format, fact and data chunks only, and correct lengths.

    It is the same object where nothing is removed.

    Raises:
        FormatFault: it is not a WAV file.
    """
    chunks = _find_kept(data)
    parts = [_encode_chunk(data, chunk) for chunk in chunks]
    content = b"WAVE" + b"".join(parts)
    if data[:4] == b"RF64":
        size = next((len(data[chunk.body : chunk.body + chunk.size]) for chunk in chunks if chunk.name == b"data"), 0)
        (frames,) = struct.unpack_from("<Q", _find_ds64(data), 16)
        content = b"WAVE" + _encode_ds64(len(content) + 8 + _DS64_SIZE, size, frames) + content[4:]
        stripped = b"RF64" + struct.pack("<I", _IN_64_BITS) + content
    else:
        stripped = b"RIFF" + struct.pack("<I", len(content)) + content
    return data if stripped == data else stripped


def _decode_format(fmt: bytes, chunk: _WavChunk, end: int) -> WavHeader:
    if len(fmt) < 16:
        raise FormatFault("no format chunk before the data, or one too short")
    coding, channels, rate, _, block, bits = struct.unpack_from("<HHIIHH", fmt)
    if coding == _EXTENSIBLE and len(fmt) >= 26:
        (coding,) = struct.unpack_from("<H", fmt, 24)  # the sub-format's first two bytes are a coding of the old kind
    if coding not in (_PCM, _FLOAT, _ALAW, _MULAW):
        raise FormatFault(f"the coding 0x{coding:04x} is not PCM, float, A-law or µ-law")
    if not block or block != channels * -(-bits // 8):
        raise FormatFault("channels, bits and block size do not agree, or are 0")
    return WavHeader(rate, channels, bits, chunk.size // block, min(chunk.size, end - chunk.body) // block)


def _find_kept(data: bytes) -> list[_WavChunk]:
    """Return the chunks to keep, up to the first data chunk: what follows it is no audio."""
    chunks = []
    for chunk in _walk_chunks(data):
        if chunk.name in _KEPT:
            chunks.append(chunk)
        if chunk.name == b"data":
            break
    return chunks


def _encode_chunk(data: bytes, chunk: _WavChunk) -> bytes:
    content = data[chunk.body : chunk.body + chunk.size]
    size = _IN_64_BITS if data[:4] == b"RF64" and chunk.name == b"data" else len(content)
    return chunk.name + struct.pack("<I", size) + content + bytes(len(content) % 2)


def _encode_ds64(riff_size: int, data_size: int, frames: int) -> bytes:
    return b"ds64" + struct.pack("<IQQQI", _DS64_SIZE, riff_size, data_size, frames, 0)


def _find_ds64(data: bytes) -> bytes:
    """Return the content of the chunk with 64-bit lengths, which comes first in RF64."""
    name, size = struct.unpack_from("<4sI", data.ljust(20, b"\0"), 12)
    if name != b"ds64" or size < _DS64_SIZE or len(data) < 20 + _DS64_SIZE:
        raise FormatFault("RF64 without its 64-bit lengths")
    return data[20 : 20 + _DS64_SIZE]


def _walk_chunks(data: bytes) -> Iterator[_WavChunk]:
    """Yield the chunks as far as the bytes go; a data chunk of unknown length in plain RIFF ends with the file.

    Raises:
        FormatFault: it is neither RIFF nor RF64, or not WAVE.
        Truncated: there are fewer bytes than a RIFF header has.
    """
    if len(data) < 12:
        raise Truncated("ends inside the RIFF header")
    if data[:4] not in (b"RIFF", b"RF64") or data[8:12] != b"WAVE":
        raise FormatFault("neither RIFF nor RF64, or not WAVE")
    (long_size,) = struct.unpack_from("<Q", _find_ds64(data), 8) if data[:4] == b"RF64" else (None,)
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if size == _IN_64_BITS and name == b"data":
            size = len(data) - at - 8 if long_size is None else long_size
        yield _WavChunk(name, at + 8, size)
        at += 8 + size + size % 2
