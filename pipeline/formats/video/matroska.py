"""Read the header of Matroska and WebM files, check their elements and strip metadata, without decoding a frame.

An element is a number that names it, its size, and its content, which may be elements again. RFC 8794 for EBML, RFC
9559 for Matroska.
"""

import itertools
import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.video.header import NO_VIDEO, VideoHeader, overwrite

_EBML, _SEGMENT, _VOID = 0x1A45DFA3, 0x18538067, 0xEC
_INFO, _TRACKS, _CLUSTER, _CUES, _SEEK_HEAD = 0x1549A966, 0x1654AE6B, 0x1F43B675, 0x1C53BB6B, 0x114D9B74
_TIMESTAMP_SCALE, _DURATION, _MUXING_APP, _WRITING_APP = 0x2AD7B1, 0x4489, 0x4D80, 0x5741
_TRACK, _NUMBER, _TYPE, _NAME, _VIDEO, _WIDTH, _HEIGHT = 0xAE, 0xD7, 0x83, 0x536E, 0xE0, 0xB0, 0xBA
_TIMESTAMP, _SIMPLE_BLOCK, _GROUP, _BLOCK = 0xE7, 0xA3, 0xA0, 0xA1
_CRC = 0xBF  # of the element around it, which stripping changes

_WORDS = (_NAME, _CRC, _VOID, 0x258688, 0x3A9697, 0x3B4040, 0x26B240, 0x7446)
"""Of a track: its name, the name, settings and places of its codec, attached files; what covers any of them."""

_KEPT_IN_SEGMENT = (_SEEK_HEAD, _INFO, _TRACKS, _CLUSTER, _CUES)
"""All others hold text, attached files and chapters."""
_FRAMES, _AUDIO = 1, 2  # kinds of tracks
_INVISIBLE = 0x08  # flag of a simple block whose frame only serves to decode others and is not shown


class _Element(NamedTuple):
    """`data[start:end]`, its content from `body` on."""

    name: int
    start: int
    body: int
    end: int


class _Track(NamedTuple):
    """A track's number, its kind, and the size of its frames."""

    number: int
    kind: int
    width: int
    height: int


class _MatroskaBlock(NamedTuple):
    """The element that holds it (its group, if it has one), its track, its time, and whether it is shown."""

    holder: _Element
    track: int
    time: int
    visible: bool


def read_header(data: bytes) -> VideoHeader:
    """Return the size, frames and length of the first video track; `NO_VIDEO` where there is none.

    A file that was written while it was recorded does not declare its length: then it lasts from its first frame to its
    last, plus the length of one frame.

    Raises:
        FormatFault: it is not Matroska, or an element is longer than the one around it.
        Truncated: the file ends inside an element, or before the one that lists its tracks.
    """
    track = next((track for track in _list_tracks(data) if track.kind == _FRAMES), None)
    if track is None:
        return NO_VIDEO
    frames, first, last = 0, 0, 0
    for block in _walk_blocks(data):
        if block.track == track.number and block.visible:
            first = min(first, block.time) if frames else block.time
            last = max(last, block.time) if frames else block.time
            frames += 1
    scale, duration = _read_times(data)
    if not duration > 0:  # which no NaN is
        duration = (last - first) * frames / max(1, frames - 1)
    return VideoHeader(track.width, track.height, frames, duration * scale / 1e9) if frames else NO_VIDEO


def check_whole(data: bytes) -> None:
    """Check that every element is complete. A file that was written while it was recorded does not declare its end: in
    such a file a cut between two elements is not found.

    Raises:
        Truncated: one is not.
        FormatFault: as `read_header`.
    """
    for _ in _walk_tops(data):
        pass
    _list_tracks(data)


def strip_metadata(data: bytes) -> bytes:
    """Return the file with only the elements that playing it needs, the others made void; without the content of tracks
    that are neither video nor audio (captions); and without bytes after its end.

    Frames and audio are untouched: what an encoder wrote about itself among them stays. It is the same object where
    nothing is removed.

    Raises:
        FormatFault: as `read_header`.
        Truncated: likewise.
    """
    kept = {track.number for track in _list_tracks(data) if track.kind in (_FRAMES, _AUDIO)}
    foreign = (_void(block.holder) for block in _walk_blocks(data) if block.track not in kept)
    others = (edit for top in _walk_tops(data) for edit in _plan_edits(data, top))
    end = _find_segment(data).end
    return overwrite(data if end == len(data) else data[:end], itertools.chain(foreign, others))


def _plan_edits(data: bytes, top: _Element) -> Iterator[tuple[int, bytes]]:
    """Yield what is written over, or inside, an element of the segment."""
    if top.name in (_TIMESTAMP, _SIMPLE_BLOCK, _GROUP):
        return
    if top.name not in _KEPT_IN_SEGMENT:
        yield _void(top)
    for child in _walk(data, top.body, top.end) if top.name in (_INFO, _TRACKS) else ():
        if top.name == _INFO and child.name in (_MUXING_APP, _WRITING_APP):
            yield child.body, bytes(child.end - child.body)  # they are mandatory, and may be empty
        elif child.name not in ((_TIMESTAMP_SCALE, _DURATION) if top.name == _INFO else (_TRACK,)):
            yield _void(child)
        elif child.name == _TRACK:
            parts = list(_walk(data, child.body, child.end))
            if _read_track(data, child).kind in (_FRAMES, _AUDIO):
                yield from (_void(part) for part in parts if part.name in _WORDS)
            else:
                yield _void(child)


def _void(element: _Element) -> tuple[int, bytes]:
    """Return a void element in the place and of the size of another."""
    size = element.end - element.start
    if size < 9:
        return element.start, bytes([_VOID, 0x80 | (size - 2)]) + bytes(size - 2)
    return element.start, struct.pack(">BQ", _VOID, 1 << 56 | (size - 9)) + bytes(size - 9)


def _walk_tops(data: bytes) -> Iterator[_Element]:
    """Yield the elements of the segment, and after each cluster those in it."""
    segment = _find_segment(data)
    at = segment.body
    while at < segment.end:
        element = _read_element(data, at, segment.end)
        yield element
        at = element.body if element.name == _CLUSTER else element.end


def _find_segment(data: bytes) -> _Element:
    head = _read_element(data, 0, len(data))
    if head.name != _EBML:
        raise FormatFault("not EBML")
    segment = _read_element(data, head.end, len(data))
    if segment.name != _SEGMENT:
        raise FormatFault("no segment after the head")
    return segment


def _list_tracks(data: bytes) -> list[_Track]:
    for top in _walk_tops(data):
        if top.name == _TRACKS:
            return [_read_track(data, child) for child in _walk(data, top.body, top.end) if child.name == _TRACK]
    raise Truncated("no list of tracks")


def _read_track(data: bytes, entry: _Element) -> _Track:
    numbers = {_NUMBER: 0, _TYPE: 0, _WIDTH: 0, _HEIGHT: 0}
    for part in _walk(data, entry.body, entry.end):
        for inner in _walk(data, part.body, part.end) if part.name == _VIDEO else (part,):
            if inner.name in numbers:
                numbers[inner.name] = int.from_bytes(data[inner.body : min(inner.end, inner.body + 8)], "big")
    return _Track(*numbers.values())


def _read_times(data: bytes) -> tuple[int, float]:
    """Return the nanoseconds of a time unit, and the length of the file in units; 0 where it declares none."""
    scale, duration = 1_000_000, 0.0
    for part in (part for top in _walk_tops(data) if top.name == _INFO for part in _walk(data, top.body, top.end)):
        if part.name == _TIMESTAMP_SCALE:
            scale = int.from_bytes(data[part.body : min(part.end, part.body + 8)], "big")
        elif part.name == _DURATION and part.end - part.body in (4, 8):
            (duration,) = struct.unpack(">f" if part.end - part.body == 4 else ">d", data[part.body : part.end])
    return scale, duration


def _walk_blocks(data: bytes) -> Iterator[_MatroskaBlock]:
    """Yield the blocks of all clusters."""
    cluster = 0
    for top in _walk_tops(data):
        if top.name == _TIMESTAMP:
            cluster = int.from_bytes(data[top.body : min(top.end, top.body + 8)], "big")
        for block in _walk(data, top.body, top.end) if top.name == _GROUP else (top,):
            if block.name in (_SIMPLE_BLOCK, _BLOCK):
                track, at = _read_number(data, block.body, block.end)
                if at + 3 > block.end:
                    raise FormatFault("a block without its head")
                time, flags = struct.unpack_from(">hB", data, at)
                visible = block.name == _BLOCK or not flags & _INVISIBLE
                yield _MatroskaBlock(top, track, cluster + time, visible)


def _walk(data: bytes, at: int, end: int) -> Iterator[_Element]:
    while at < end:
        element = _read_element(data, at, end)
        yield element
        at = element.end


def _read_element(data: bytes, at: int, end: int) -> _Element:
    """Return the element at an offset; a segment or cluster of unknown size goes up to `end`.

    Raises:
        Truncated: the file ends inside it.
        FormatFault: it is longer than the one around it.
    """
    name, middle = _read_number(data, at, end, marked=True)
    size, body = _read_number(data, middle, end)
    unknown = size == (1 << 7 * (body - middle)) - 1
    if unknown and name not in (_SEGMENT, _CLUSTER):
        raise FormatFault("an element of no known size")
    stop = end if unknown else body + size
    if stop > len(data):
        raise Truncated("ends inside an element")
    if stop > end:
        raise FormatFault("an element is longer than the one around it")
    return _Element(name, at, body, stop)


def _read_number(data: bytes, at: int, end: int, marked: bool = False) -> tuple[int, int]:
    """Return a number of 1 to 8 bytes, as its first bits tell, and its end; `marked` leaves those bits in it.

    Raises:
        Truncated: the file ends inside it.
        FormatFault: it is longer than that, or than the element around it.
    """
    if at >= len(data):
        raise Truncated("ends inside an element")
    width = 9 - data[at].bit_length()
    if width > 8 or (at + width > end and end < len(data)):
        raise FormatFault("a number that is none")
    if at + width > len(data):
        raise Truncated("ends inside an element")
    number = int.from_bytes(data[at : at + width], "big")
    return number if marked else number - (1 << 7 * width), at + width
