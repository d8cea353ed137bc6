"""Read the header of MP4 and QuickTime files, check their boxes and strip metadata, without decoding a frame.

ISO/IEC 14496-12 for the boxes; Apple's QuickTime File Format for those of older files. A fragmented file (`moof`) lists
no frames in its header.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.iso_boxes import Box, free_box, read_fields, walk_boxes
from pipeline.formats.video.header import NO_VIDEO, VideoHeader, overwrite

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


class Track(NamedTuple):
    """The first track of a kind: fields of its first sample description, its length in units of 1 / `scale` seconds,
    and its number of MP4 samples."""

    fields: tuple[int, ...]
    scale: int
    duration: int
    samples: int


def read_header(data: bytes) -> VideoHeader:
    """Return the header of the first video track; `NO_VIDEO` where there is none, or the file is fragmented.

    Raises:
        FormatFault: a box is longer than the one around it, or too short for what it must hold.
        Truncated: the file ends inside a box, or before the one that describes it.
    """
    track = read_track(data, b"vide", ">HH", 40)
    if track is None or not track.samples or not track.scale:
        return NO_VIDEO
    width, height = track.fields
    return VideoHeader(width, height, track.samples, track.duration / track.scale)


def read_track(data: bytes, kind: bytes, form: str, at: int) -> Track | None:
    """Return the first track of a kind, `vide` or `soun`, with the fields `at` bytes into its sample descriptions; None
    where there is none. A fragmented file has no samples.

    Raises: what `read_header` raises.
    """
    movie = _find_movie(data)
    fragmented = _find(data, movie, b"mvex") is not None
    for track in _list_tracks(data, movie):
        if _read_kind(data, track) == kind:
            fields = read_fields(form, data, _require(data, track, b"mdia", b"minf", b"stbl", b"stsd"), at)
            scale, duration = _read_duration(data, track)
            _, samples, _ = _read_sizes(data, track)
            return Track(fields, scale, duration, 0 if fragmented else samples)
    return None


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
    for box in walk_boxes(data, 0, len(data)):
        if box.name not in _KEPT_AT_TOP:
            edits += free_box(box)
        elif box.name == b"moov":
            edits += _plan_edits(data, box)
    return overwrite(data, edits)


def _plan_edits(data: bytes, parent: Box) -> Iterator[tuple[int, bytes]]:
    """Yield what is written inside a box that holds others."""
    for box in walk_boxes(data, parent.body, parent.end):
        foreign = box.name == b"trak" and _read_kind(data, box) not in (b"vide", b"soun")
        if foreign:
            for start, end in zip(*_list_chunks(data, box), strict=True):
                yield int(start), bytes(int(end - start))
        if foreign or box.name not in _KEPT[parent.name]:
            yield from free_box(box)
        elif box.name in _KEPT:
            yield from _plan_edits(data, box)
        elif box.name in _DATED and box.end - box.body >= 20:
            yield box.body + 4, bytes(16 if data[box.body] == 1 else 8)
        elif box.name == b"hdlr":
            yield box.body + _HANDLER_NAME, bytes(max(0, box.end - box.body - _HANDLER_NAME))


def _find_movie(data: bytes) -> Box:
    """Return the box that describes the file, after checking that every box beside it is complete."""
    movie = None
    for box in walk_boxes(data, 0, len(data)):
        movie = box if box.name == b"moov" and movie is None else movie
    if movie is None:
        raise Truncated("no box that describes the file")
    return movie


def _list_tracks(data: bytes, movie: Box) -> list[Box]:
    return [box for box in walk_boxes(data, movie.body, movie.end) if box.name == b"trak"]


def _find(data: bytes, box: Box, *path: bytes) -> Box | None:
    """Return the first box at a path of names below `box`, or None."""
    for name in path:
        found = next((child for child in walk_boxes(data, box.body, box.end) if child.name == name), None)
        if found is None:
            return None
        box = found
    return box


def _require(data: bytes, box: Box, *path: bytes) -> Box:
    found = _find(data, box, *path)
    if found is None:
        raise FormatFault(f"a track without its box {path[-1].decode()}")
    return found


def _read_kind(data: bytes, track: Box) -> bytes:
    """Return the kind of a track: `vide`, `soun`, or another."""
    box = _require(data, track, b"mdia", b"hdlr")
    return data[box.body + 8 : min(box.body + 12, box.end)]


def _read_duration(data: bytes, track: Box) -> tuple[int, int]:
    """Return the time units per second, and the length in units."""
    box = _require(data, track, b"mdia", b"mdhd")
    (version,) = read_fields("B", data, box, 0)
    scale, duration = read_fields(">IQ", data, box, 20) if version == 1 else read_fields(">II", data, box, 12)
    return scale, duration


def _read_sizes(data: bytes, track: Box) -> tuple[int, int, NDArray[np.int64]]:
    """Return the bytes of every MP4 sample where all have the same, else 0; their number; the bytes of each where they
    differ. A table of half bytes (`stz2`) counts as none.
    """
    box = _find(data, track, b"mdia", b"minf", b"stbl", b"stsz")
    if box is None:
        return 0, 0, np.empty(0, np.int64)
    size, count = read_fields(">II", data, box, 4)
    return size, count, np.empty(0, np.int64) if size else _read_table(data, box, 12, count)


def _list_chunks(data: bytes, track: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets in the file at which each run of MP4 samples begins and ends."""
    table = _require(data, track, b"mdia", b"minf", b"stbl")
    short, long = _find(data, table, b"stco"), _find(data, table, b"co64")
    runs = _find(data, table, b"stsc")
    box = short or long
    if box is None or runs is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    (count,) = read_fields(">I", data, box, 4)
    starts = _read_table(data, box, 8, count, ">u4" if short else ">i8")
    (entries,) = read_fields(">I", data, runs, 4)
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


def _read_table(data: bytes, box: Box, at: int, count: int, kind: str = ">u4") -> NDArray[np.int64]:
    """Return `count` numbers of a box, from `at` bytes into its content on."""
    if box.body + at + count * int(kind[2]) > box.end:
        raise FormatFault(f"the box {box.name.decode('latin-1')} is too short")
    return np.frombuffer(data, kind, count, box.body + at).astype(np.int64)
