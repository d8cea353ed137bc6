"""Read the header of FLAC files, check their blocks and strip metadata, without decoding a sample.

After the marker, and ID3 tags before it, come blocks (last-flag and type, 24-bit length, content), then frames up to
the end of the file. RFC 9639, sections 8 and 9.
"""

from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.audio.audio_header import AudioHeader
from pipeline.formats.audio.flac_frames import count_samples
from pipeline.formats.audio.tags import find_audio, skip_id3
from pipeline.formats.format_errors import FormatFault, Truncated

_MARKER = b"fLaC"
_STREAMINFO, _SEEKTABLE, _INVALID = 0, 3, 127
_STREAMINFO_SIZE = 34
_LAST = 0x80


class _FlacBlock(NamedTuple):
    """Content of a metadata block is `data[start:end]`."""

    kind: int
    start: int
    end: int


def read_header(data: bytes) -> AudioHeader:
    """Return the stream info block, which comes first.

    Raises:
        FormatFault: it is not a FLAC file, or its first block is not the stream info.
        Truncated: the file ends inside it.
    """
    block = _read_blocks(data)[0]
    packed = int.from_bytes(
        data[block.start + 10 : block.start + 18], "big"
    )  # rate 20, channels 3, depth 5, samples 36 bits
    return AudioHeader(packed >> 44, (packed >> 41 & 0b111) + 1, packed & (1 << 36) - 1)


def check_whole(data: bytes) -> None:
    """Check that the metadata blocks are complete and a frame follows, and where the header does not say how many
    samples there are, that the file ends with a whole frame. Only decoding finds what is missing before.

    Raises:
        Truncated: they are not, or none does.
        FormatFault: as `read_header`.
    """
    blocks = _read_blocks(data)
    end = blocks[-1].end
    if end + 2 > len(data):
        raise Truncated("no frame")
    if data[end] != 0xFF or data[end + 1] & 0xFC != 0xF8:
        raise FormatFault("no frame where the first should begin")
    _declare_samples(data, blocks)


def strip_metadata(data: bytes) -> bytes:
    """Return the file with its stream info, seek table and frames only, without tags of players before and after, and
    with the number of samples where the header lacks it; the same object where nothing changes.

    Raises:
        FormatFault: as `check_whole`.
    """
    blocks = _read_blocks(data)
    kept = [block for block in blocks if block.kind in (_STREAMINFO, _SEEKTABLE)]
    parts = [_MARKER]
    for block in kept:
        parts.append(bytes([block.kind | (_LAST if block is kept[-1] else 0)]))
        content = _declare_samples(data, blocks) if block is kept[0] else data[block.start : block.end]
        parts.append(len(content).to_bytes(3, "big") + content)
    stripped = b"".join(parts) + data[blocks[-1].end : find_audio(data)[1]]
    return data if stripped == data else stripped


def _declare_samples(data: bytes, blocks: list[_FlacBlock]) -> bytes:
    """Return the content of the stream info, with the number of samples: libsndfile cannot read the end without it.

    Raises:
        Truncated: it is not declared, and the file does not end with a whole frame.
    """
    info = data[blocks[0].start : blocks[0].end]
    if read_header(data).frames:
        return info
    count = count_samples(data, blocks[-1].end, find_audio(data)[1], int.from_bytes(info[2:4], "big"))
    packed = int.from_bytes(info[10:18], "big") + min(count, (1 << 36) - 1)
    return info[:10] + packed.to_bytes(8, "big") + info[18:]


def _read_blocks(data: bytes) -> list[_FlacBlock]:
    """Return all metadata blocks; the first is the stream info.

    Raises:
        FormatFault: no marker, no stream info, or a block of the forbidden type.
        Truncated: the file ends before the last block does.
    """
    start = skip_id3(data)
    if not data.startswith(_MARKER, start):
        raise Truncated("ends inside the marker") if _MARKER.startswith(data[start:]) else FormatFault("no marker")
    blocks = list(_walk_blocks(data, start + len(_MARKER)))
    if any(block.kind == _INVALID for block in blocks):
        raise FormatFault("a metadata block of the forbidden type")
    if blocks and (blocks[0].kind != _STREAMINFO or blocks[0].end - blocks[0].start != _STREAMINFO_SIZE):
        raise FormatFault("the first block is not the stream info")
    if not blocks or blocks[-1].end > len(data) or not data[blocks[-1].start - 4] & _LAST:
        raise Truncated("ends inside the metadata blocks")
    return blocks


def _walk_blocks(data: bytes, at: int) -> Iterator[_FlacBlock]:
    while at + 4 <= len(data):
        start = at + 4
        end = start + int.from_bytes(data[at + 1 : start], "big")
        yield _FlacBlock(data[at] & 0x7F, start, end)
        if data[at] & _LAST:
            return
        at = end
