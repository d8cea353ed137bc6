"""Read the header of WAV files, check that they are complete and strip metadata, without decoding a sample.

RIFF is a sequence of chunks: name, length, content, and a zero where the length is odd; RF64 is the same with 64-bit
lengths in a chunk of their own (BW64: ITU-R BS.2088). Microsoft/IBM, Multimedia Programming Interface 1.0 (1991);
WAVEFORMATEXTENSIBLE in Microsoft's mmreg.h; EBU Tech 3306 for RF64.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated, Unsupported

_PCM, _FLOAT, _ALAW, _MULAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_GSM, _PACKED = 0x31, (0x02, 0x11)
"""Codings in blocks of samples: GSM 6.10, and the ADPCM of Microsoft and of IMA."""
_GSM_SAMPLES = 320
_KEPT = (b"fmt ", b"fact", b"data")
"""All other chunks hold text, dates, cues, loops and whatever a program left there."""
_IN_64_BITS = 0xFFFFFFFF  # as a 32-bit length: see ds64
_LONG_FORMS = (b"RF64", b"BW64")
_UNKNOWN = (range(0x7FFFF000, 0x80001000), range(0xFFFFF000, 0x100000000))
"""Lengths that programs write which do not know how long a recording will be, and cannot go back: sox 0x7FFFF000,
arecord 0x7FFFFFFF and 0x80000000, FFmpeg 0xFFFFFFFF, others that less the size of the header."""
_DS64_SIZE = 28
_FACT_SIZE = 4  # the number of samples


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
        FormatFault: it is not a WAV file, or has no format chunk before its data.
        Unsupported: a coding that is not PCM, float, A-law, µ-law, ADPCM or GSM; the message has its number.
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
    if data[:4] in _LONG_FORMS:
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
    if coding not in (_PCM, _FLOAT, _ALAW, _MULAW, _GSM, *_PACKED):
        raise Unsupported(f"samples in the coding 0x{coding:04x}: save it as FLAC")
    samples = 1
    if coding in (_GSM, *_PACKED):
        samples = struct.unpack_from("<H", fmt, 18)[0] if coding in _PACKED and len(fmt) >= 20 else _GSM_SAMPLES
        agree = bool(channels and samples)
    else:
        agree = block == channels * -(-bits // 8)
    if not block or not agree:
        raise FormatFault("channels, bits and block size do not agree, or are 0")
    present = min(chunk.size, end - chunk.body)
    return WavHeader(rate, channels, bits, chunk.size // block * samples, present // block * samples)


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
    if chunk.name == b"fact":
        content = content[:_FACT_SIZE]
    size = _IN_64_BITS if data[:4] in _LONG_FORMS and chunk.name == b"data" else len(content)
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
    """Yield the chunks as far as the bytes go.

    Raises:
        FormatFault: it is neither RIFF nor RF64, or not WAVE.
        Truncated: there are fewer bytes than a RIFF header has.
    """
    if len(data) < 12:
        raise Truncated("ends inside the RIFF header")
    if data[:4] not in (b"RIFF", *_LONG_FORMS) or data[8:12] != b"WAVE":
        raise FormatFault("neither RIFF nor RF64, or not WAVE")
    at = 12
    while at + 8 <= len(data):
        name, size = struct.unpack_from("<4sI", data, at)
        if name == b"data":
            size = _find_data_size(data, at + 8, size)
        yield _WavChunk(name, at + 8, size)
        at += 8 + size + size % 2


def _find_data_size(data: bytes, body: int, size: int) -> int:
    """Return the bytes of the data chunk whose content begins at `body`: all that follow where its length is not known.

    So it is where a program wrote one of `_UNKNOWN`, or 0 for both lengths and was killed; and where the length of the
    whole is right, but this one leads beyond it, as of recorders that count the header twice.
    """
    rest = len(data) - body
    if data[:4] in _LONG_FORMS:
        (size,) = struct.unpack_from("<Q", _find_ds64(data), 8) if size == _IN_64_BITS else (size,)
        return rest if size >= 1 << 63 else size
    (whole,) = struct.unpack_from("<I", data, 4)
    if size == 0:
        return rest if whole + 8 <= body or any(whole in each for each in _UNKNOWN) else 0
    unknown = any(size in each for each in _UNKNOWN)
    return rest if size > rest and (unknown or whole + 8 == len(data)) else size
