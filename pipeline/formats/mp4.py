"""Read the header of MP4 and QuickTime files, check their boxes and strip metadata, without decoding a frame.

A box is its size, its name and its content, which may be boxes again. ISO/IEC 14496-12 for the boxes; Apple's QuickTime
File Format for those of older files. A fragmented file (`moof`) lists no frames in its header.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.video_header import NO_VIDEO, VideoHeader, overwrite

_KEPT_AT_TOP = (b"ftyp", b"moov", b"mdat", b"wide")
_KEPT = {
    b"moov": (b"mvhd", b"trak", b"iods"),
    b"trak": (b"tkhd", b"edts", b"tref", b"mdia"),
    b"mdia": (b"mdhd", b"hdlr", b"minf", b"elng"),
    b"minf": (b"vmhd", b"smhd", b"gmhd", b"hdlr", b"dinf", b"stbl"),
}
"""The boxes to keep in each box that holds others. All others hold text, places, covers and whatever a program left."""
_DATED = (b"mvhd", b"tkhd", b"mdhd")
"""Boxes with the dates of creation and of the last change, after version and flags."""
_HANDLER_NAME = 24  # where the name begins in `hdlr`


class _Box(NamedTuple):
    """`data[start:end]`, its content from `body` on."""

    name: bytes
    start: int
    body: int
    end: int


def read_header(data: bytes) -> VideoHeader:
    """Return the header of the first video track; `NO_VIDEO` where there is none, or the file is fragmented.

    Raises:
        FormatFault: a box is longer than the one around it, or too short for what it must hold.
        Truncated: the file ends inside a box, or before the one that describes it.
    """
    movie = _find_movie(data)
    for track in () if _find(data, movie, b"mvex") else _list_tracks(data, movie):
        if _read_kind(data, track) == b"vide":
            width, height = _read_fields(">HH", data, _require(data, track, b"mdia", b"minf", b"stbl", b"stsd"), 40)
            scale, duration = _read_duration(data, track)
            _, frames, _ = _read_sizes(data, track)
            return VideoHeader(width, height, frames, duration / scale) if frames and scale else NO_VIDEO
    return NO_VIDEO


def check_whole(data: bytes) -> None:
    """Check that every box is complete, and that all frames and audio that the header lists lie within the file.

    Raises:
        Truncated: they do not.
        FormatFault: they take more bytes than the file has; or as `read_header`.
    """
    for track in _list_tracks(data, _find_movie(data)):
        starts, ends = _list_chunks(data, track)
        if len(ends) and ends.max() > len(data):
            raise Truncated("frames or audio lie beyond the end")
        if (ends - starts).sum() > len(data):
            raise FormatFault("a track's parts overlap")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with only the boxes that playing it needs, the others made into free space; with zeros for dates
    and for the names of tracks; and without the content of tracks that are neither video nor audio (places, captions).

    Frames and audio are untouched: what an encoder wrote about itself among them stays. It is the same object where
    nothing is removed.

    Raises:
        FormatFault: as `check_whole`.
        Truncated: likewise.
    """
    check_whole(data)
    edits: list[tuple[int, bytes]] = []
    for box in _walk_boxes(data, 0, len(data)):
        if box.name not in _KEPT_AT_TOP:
            edits += _free(box)
        elif box.name == b"moov":
            edits += _plan_edits(data, box)
    return overwrite(data, edits)


def _plan_edits(data: bytes, parent: _Box) -> Iterator[tuple[int, bytes]]:
    """Yield what is written inside a box that holds others."""
    for box in _walk_boxes(data, parent.body, parent.end):
        foreign = box.name == b"trak" and _read_kind(data, box) not in (b"vide", b"soun")
        if foreign:
            for start, end in zip(*_list_chunks(data, box), strict=True):
                yield int(start), bytes(int(end - start))
        if foreign or box.name not in _KEPT[parent.name]:
            yield from _free(box)
        elif box.name in _KEPT:
            yield from _plan_edits(data, box)
        elif box.name in _DATED and box.end - box.body >= 20:
            yield box.body + 4, bytes(16 if data[box.body] == 1 else 8)
        elif box.name == b"hdlr":
            yield box.body + _HANDLER_NAME, bytes(max(0, box.end - box.body - _HANDLER_NAME))


def _free(box: _Box) -> Iterator[tuple[int, bytes]]:
    """Yield the edits that make a box free space; its size stays, however it is written."""
    yield box.start + 4, b"free"
    yield box.body, bytes(box.end - box.body)


def _find_movie(data: bytes) -> _Box:
    """Return the box that describes the file, after checking that every box beside it is complete."""
    movie = None
    for box in _walk_boxes(data, 0, len(data)):
        movie = box if box.name == b"moov" and movie is None else movie
    if movie is None:
        raise Truncated("no box that describes the file")
    return movie


def _list_tracks(data: bytes, movie: _Box) -> list[_Box]:
    return [box for box in _walk_boxes(data, movie.body, movie.end) if box.name == b"trak"]


def _find(data: bytes, box: _Box, *path: bytes) -> _Box | None:
    """Return the first box at a path of names below `box`, or None."""
    for name in path:
        found = next((child for child in _walk_boxes(data, box.body, box.end) if child.name == name), None)
        if found is None:
            return None
        box = found
    return box


def _require(data: bytes, box: _Box, *path: bytes) -> _Box:
    found = _find(data, box, *path)
    if found is None:
        raise FormatFault(f"a track without its box {path[-1].decode()}")
    return found


def _read_fields(form: str, data: bytes, box: _Box, at: int) -> tuple[int, ...]:
    """Return numbers of a box, from `at` bytes into its content on."""
    if box.body + at + struct.calcsize(form) > box.end:
        raise FormatFault(f"the box {box.name.decode('latin-1')} is too short")
    return struct.unpack_from(form, data, box.body + at)


def _read_kind(data: bytes, track: _Box) -> bytes:
    """Return the kind of a track: `vide`, `soun`, or another."""
    box = _require(data, track, b"mdia", b"hdlr")
    return data[box.body + 8 : min(box.body + 12, box.end)]


def _read_duration(data: bytes, track: _Box) -> tuple[int, int]:
    """Return the time units per second, and the length in units."""
    box = _require(data, track, b"mdia", b"mdhd")
    (version,) = _read_fields("B", data, box, 0)
    scale, duration = _read_fields(">IQ", data, box, 20) if version == 1 else _read_fields(">II", data, box, 12)
    return scale, duration


def _read_sizes(data: bytes, track: _Box) -> tuple[int, int, NDArray[np.int64]]:
    """Return the bytes of every MP4 sample where all have the same, else 0; their number; the bytes of each where they
    differ. A table of half bytes (`stz2`) counts as none.
    """
    box = _find(data, track, b"mdia", b"minf", b"stbl", b"stsz")
    if box is None:
        return 0, 0, np.empty(0, np.int64)
    size, count = _read_fields(">II", data, box, 4)
    return size, count, np.empty(0, np.int64) if size else _read_table(data, box, 12, count)


def _list_chunks(data: bytes, track: _Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets in the file at which each run of MP4 samples begins and ends."""
    table = _require(data, track, b"mdia", b"minf", b"stbl")
    short, long = _find(data, table, b"stco"), _find(data, table, b"co64")
    runs = _find(data, table, b"stsc")
    box = short or long
    if box is None or runs is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    (count,) = _read_fields(">I", data, box, 4)
    starts = _read_table(data, box, 8, count, ">u4" if short else ">i8")
    (entries,) = _read_fields(">I", data, runs, 4)
    firsts, per_chunk, _ = _read_table(data, runs, 8, 3 * entries).reshape(-1, 3).T
    chunks = np.diff(np.append(firsts, count + 1))
    if not count:
        return starts, starts
    if not entries or firsts[0] != 1 or (chunks < 0).any() or (starts < 0).any():
        raise FormatFault("the table of chunks is out of order")
    size, samples, sizes = _read_sizes(data, track)
    edges = np.minimum(np.append(0, np.cumsum(np.repeat(per_chunk, chunks)[:count])), samples)
    offsets = edges * min(size, len(data) + 1) if size else np.append(0, np.cumsum(sizes))[edges]
    return starts, starts + np.diff(offsets)


def _read_table(data: bytes, box: _Box, at: int, count: int, kind: str = ">u4") -> NDArray[np.int64]:
    """Return `count` numbers of a box, from `at` bytes into its content on."""
    if box.body + at + count * int(kind[2]) > box.end:
        raise FormatFault(f"the box {box.name.decode('latin-1')} is too short")
    return np.frombuffer(data, kind, count, box.body + at).astype(np.int64)


def _walk_boxes(data: bytes, at: int, end: int) -> Iterator[_Box]:
    """Yield the boxes between two offsets.

    Raises:
        Truncated: one is longer than the file.
        FormatFault: one is longer than the box around it, or shorter than its own head.
    """
    while at + 8 <= end:
        size, name = struct.unpack_from(">I4s", data, at)
        head = 8
        if size == 1 and at + 16 <= end:
            (size,), head = struct.unpack_from(">Q", data, at + 8), 16
        stop = end if size == 0 else at + size
        if stop > len(data):
            raise Truncated("ends inside a box")
        if stop < at + head or stop > end:
            raise FormatFault("a box is longer than the one around it, or shorter than its head")
        yield _Box(name, at, at + head, stop)
        at = stop
    if at < end and end == len(data):
        raise Truncated("ends inside the head of a box")
