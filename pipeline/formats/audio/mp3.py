"""Read the header of MP3 files, check their frames and strip tags, without decoding a sample.

Frames of four bytes of header and their content follow each other; how long each is follows from its header. ISO/IEC
11172-3 and 13818-3; "MPEG 2.5" halves the rates once more. A first frame without sound may count the others: Xing's and
LAME's (lame.sourceforge.io, "Mp3 Info Tag"), or Fraunhofer's VBRI.
"""

import re
import struct
from typing import NamedTuple

from pipeline.formats.audio.audio_header import AudioHeader
from pipeline.formats.audio.tags import find_audio, skip_id3
from pipeline.formats.format_errors import FormatFault, Truncated

_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
"""Hz, by the version's bits: MPEG 1, 2 and 2.5."""
_KILOBITS = {
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""By whether it is MPEG 1."""
_LAYER_3 = 1
_SYNC = re.compile(rb"\xff[\xe2\xe3\xf2\xf3\xfa\xfb]")
_SAME = 0xFFFE0C00
"""The bits of a header that are the same in all frames: sync, version, layer, rate."""
_FIRST_FRAMES = 3
"""Frames that follow each other where the first is searched for: chance makes one header in 10,000 bytes of
anything."""
_SIDE_BYTES = {(True, True): 17, (True, False): 32, (False, True): 9, (False, False): 17}
"""Of side information before Xing's tag, by whether it is MPEG 1 and mono."""
_VBRI_AT = 36


class _Mp3Frame(NamedTuple):
    """`data[start:end]`."""

    start: int
    end: int


class _Mp3Walk(NamedTuple):
    """The frames in order, and whether the file ends inside one."""

    frames: list[_Mp3Frame]
    cut: bool


def read_header(data: bytes) -> AudioHeader:
    """Return the header of the first frame, and the number of samples by all, without what the encoder added before and
    after where it says how much that is.

    Raises:
        FormatFault: no frames follow each other.
        Truncated: the file ends before the first frame does.
    """
    walk = _walk_frames(data)
    word, (start, end) = _read_word(data, walk.frames[0].start), walk.frames[0]
    counted, delay = _read_count(data[start:end], word)
    frames = (len(walk.frames) - (counted is not None)) * _count_samples(word)
    return AudioHeader(_find_rate(word), 1 if _is_mono(word) else 2, max(0, frames - delay))


def check_whole(data: bytes) -> None:
    """Check that the last frame is complete, and that there are as many as the first one counts, if it does.

    A file without a count that is cut between two frames is a shorter file.

    Raises:
        Truncated: they are not.
        FormatFault: something else is between frames; or as `read_header`.
    """
    walk = _walk_frames(data)
    if walk.cut:
        raise Truncated("ends inside a frame")
    start, end = walk.frames[0]
    counted, _ = _read_count(data[start:end], _read_word(data, start))
    if counted is not None and len(walk.frames) - 1 < counted:
        raise Truncated("fewer frames than the first one counts")


def strip_metadata(data: bytes) -> bytes:
    """Return the frames alone: without tags and other bytes before, between and after them. It is the same object where
    nothing is removed.

    Raises:
        FormatFault: as `check_whole`.
    """
    check_whole(data)
    stripped = b"".join(data[frame.start : frame.end] for frame in _walk_frames(data).frames)
    return data if stripped == data else stripped


_walks: list[tuple[bytes, _Mp3Walk]] = []
"""The last file whose frames were listed, since several questions are asked of one, and its frames."""


def _walk_frames(data: bytes) -> _Mp3Walk:
    """Return the frames, at least one.

    Raises:
        FormatFault: no frame, or something between frames that is neither one nor a tag.
        Truncated: the file ends inside its first frame, or before.
    """
    if _walks and _walks[0][0] is data:
        return _walks[0][1]
    start, end = find_audio(data)
    if start >= end:
        raise Truncated("no frame")
    at = _find_first(data, start, end)
    word, frames = _read_word(data, at), []
    while at < end:
        size = _measure_frame(data, at, end, word)
        if size == 0:
            after = skip_id3(data, at)
            if after == at:
                break
            at = after
        elif at + size > end:
            frames.append(_Mp3Frame(at, end))
            break
        else:
            frames.append(_Mp3Frame(at, at + size))
            at += size
    cut = at < end and (frames[-1].end == end or (end - at < 4 and data[at] == 0xFF))
    if at < end and not cut and _find_chain(data, at, end, word):
        raise FormatFault("bytes between frames that are none")
    walk = _Mp3Walk(frames, cut)
    _walks[:] = [(data, walk)]
    return walk


def _find_first(data: bytes, start: int, end: int) -> int:
    """Return where the first frame begins: where some follow each other, or one is the last."""
    found = _find_chain(data, start, end, None)
    if found is None:
        head = data[start : start + 2]
        raise (
            Truncated("ends inside the first frame") if len(head) < 2 or _SYNC.match(head) else FormatFault("no frame")
        )
    return found


def _find_chain(data: bytes, start: int, end: int, word: int | None) -> int | None:
    """Return where frames follow each other up to the end, or some of them; like `word` where one is given."""
    for sync in _SYNC.finditer(data, start, end):
        at, count = sync.start(), 0
        first = word if word is not None else _read_word(data, at)
        while count < _FIRST_FRAMES and at + 4 <= end and (size := _measure_frame(data, at, end, first)):
            at, count = at + size, count + 1
        if count == _FIRST_FRAMES or (count and at == end):
            return sync.start()
    return None


def _read_word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _measure_frame(data: bytes, at: int, end: int, like: int) -> int:
    """Return the bytes of the frame at `at`; 0 where there is none of the same kind."""
    word = _read_word(data, at) if at + 4 <= end else 0
    version, bitrate = word >> 19 & 3, word >> 12 & 15
    if (word ^ like) & _SAME or word >> 21 != 0x7FF or word >> 17 & 3 != _LAYER_3 or version == 1:
        return 0
    if word >> 10 & 3 == 3 or bitrate in (0, 15):
        return 0
    kilobits = _KILOBITS[version == 3][bitrate]
    return _count_samples(word) // 8 * kilobits * 1000 // _find_rate(word) + (word >> 9 & 1)


def _find_rate(word: int) -> int:
    return _RATES[word >> 19 & 3][word >> 10 & 3]


def _count_samples(word: int) -> int:
    return 1152 if word >> 19 & 3 == 3 else 576


def _is_mono(word: int) -> bool:
    return word >> 6 & 3 == 3


def _read_count(frame: bytes, word: int) -> tuple[int | None, int]:
    """Return the number of frames that follow by the first one, None where it has sound; and how many samples the
    encoder added."""
    at = 4 + _SIDE_BYTES[word >> 19 & 3 == 3, _is_mono(word)]
    if frame[at : at + 4] in (b"Xing", b"Info") and len(frame) >= at + 8:
        flags = int.from_bytes(frame[at + 4 : at + 8], "big")
        count = int.from_bytes(frame[at + 8 : at + 12], "big") if flags & 1 else 0
        lame = at + 8 + 4 * (flags & 1) + 4 * (flags >> 1 & 1) + 100 * (flags >> 2 & 1) + 4 * (flags >> 3 & 1)
        if len(frame) < lame + 24 or not frame[lame : lame + 4].isalnum():
            return count, 0
        gaps = int.from_bytes(frame[lame + 21 : lame + 24], "big")
        return count, (gaps >> 12) + (gaps & 0xFFF)
    if frame[_VBRI_AT : _VBRI_AT + 4] == b"VBRI" and len(frame) >= _VBRI_AT + 18:
        return int(struct.unpack_from(">I", frame, _VBRI_AT + 14)[0]), 0
    return None, 0
