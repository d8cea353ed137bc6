"""Read the header of AAC files, check their frames and strip tags, without decoding a sample.

ADTS: each frame has a header of seven bytes with its length, or nine with a checksum. ISO/IEC 14496-3, section 1.A.2.
"""

from typing import NamedTuple

from pipeline.formats.audio.audio_header import AudioHeader
from pipeline.formats.audio.tags import find_audio
from pipeline.formats.format_errors import FormatFault, Truncated

_RATES = (96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000, 7350)
_HEAD = 7
_FRAME_SAMPLES = 1024
_SAME = b"\xff\xf6\xfd\xc0"
"""The bits of a header that are the same in all frames: sync, layer, profile, rate, channels."""


class _AdtsWalk(NamedTuple):
    """Where the frames begin and end, their blocks of samples, and whether the file ends inside one."""

    start: int
    end: int
    blocks: int
    cut: bool


def read_header(data: bytes) -> AudioHeader:
    """Return the header of the first frame, and the number of samples by all.

    Raises:
        FormatFault: there is no frame where one should begin.
        Truncated: the file ends before the first frame.
    """
    walk = _walk_frames(data)
    head = data[walk.start : walk.start + _HEAD]
    channels = (head[2] & 1) << 2 | head[3] >> 6
    return AudioHeader(_RATES[head[2] >> 2 & 15], 8 if channels == 7 else channels, walk.blocks * _FRAME_SAMPLES)


def check_whole(data: bytes) -> None:
    """Check that the last frame is complete. A file that is cut between two frames is a shorter file.

    Raises:
        Truncated: it is not.
        FormatFault: something else is between frames; or as `read_header`.
    """
    if _walk_frames(data).cut:
        raise Truncated("ends inside a frame")


def strip_metadata(data: bytes) -> bytes:
    """Return the frames alone, without tags before and after them. It is the same object where nothing is removed.

    Raises:
        FormatFault: as `read_header`.
    """
    walk = _walk_frames(data)
    return data if (walk.start, walk.end) == (0, len(data)) else data[walk.start : walk.end]


def _walk_frames(data: bytes) -> _AdtsWalk:
    start, end = find_audio(data)
    if start + _HEAD > end:
        raise Truncated("no frame")
    first, at, blocks = data[start : start + 4], start, 0
    if first[0] != 0xFF or first[1] & 0xF6 != 0xF0 or first[2] >> 2 & 15 >= len(_RATES):
        raise FormatFault("no frame where the first should begin")
    while at + _HEAD <= end:
        head = data[at : at + _HEAD]
        if any((a ^ b) & mask for a, b, mask in zip(head, first, _SAME, strict=False)):
            raise FormatFault("something else where a frame should begin")
        size = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        if size < _HEAD:
            raise FormatFault("a frame shorter than its header")
        if at + size > end:
            break
        at, blocks = at + size, blocks + (head[6] & 3) + 1
    if not blocks:
        raise Truncated("ends inside the first frame")
    return _AdtsWalk(start, at, blocks, at < end)
