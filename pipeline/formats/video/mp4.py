"""Read the header of MP4 and QuickTime files, check their boxes and strip metadata, without decoding a frame.

ISO/IEC 14496-12 for the boxes; Apple's QuickTime File Format for those of older files. A fragmented file lists most or
all of its frames in the boxes `moof`, see `mp4_fragments`.
"""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.icc_profile import blank_texts
from pipeline.formats.iso_boxes import Box, find_box, free_box, read_fields, read_table, walk_boxes
from pipeline.formats.video.header import NO_VIDEO, VideoHeader, overwrite
from pipeline.formats.video.mp4_fragments import (
    FragmentRun,
    check_index,
    is_fragmented,
    list_runs,
    read_track_number,
)

_KEPT_AT_TOP = (b"ftyp", b"moov", b"mdat", b"wide")
_KEPT_OF_FRAGMENTS = (*_KEPT_AT_TOP, b"styp", b"sidx", b"moof", b"mfra")
_KEPT = {
    b"moov": (b"mvhd", b"trak", b"iods", b"mvex"),
    b"mvex": (b"mehd", b"trex"),
    b"moof": (b"mfhd", b"traf"),
    b"traf": (b"tfhd", b"tfdt", b"trun"),
    b"trak": (b"tkhd", b"edts", b"tref", b"mdia"),
    b"mdia": (b"mdhd", b"hdlr", b"minf", b"elng"),
    b"minf": (b"vmhd", b"smhd", b"gmhd", b"hdlr", b"dinf", b"stbl"),
    b"stbl": tuple(b"stsd stts ctts cslg stss stps stsz stz2 stsc stco co64 sdtp sgpd sbgp subs saiz saio".split()),
}
"""The boxes to keep in each box that holds others. All others hold text, places, covers and whatever a program left."""
_PLAYED = (b"vide", b"soun")
_DATED = (b"mvhd", b"tkhd", b"mdhd")
"""Boxes with the dates of creation and of the last change, after version and flags."""
_VIDEO_CODINGS = (b"avc1", b"avc3", b"hvc1", b"hev1", b"av01", b"vp08", b"vp09", b"mp4v", b"jpeg", b"mjpa", b"mjp2")
_VIDEO_ENTRY = 78
"""Bytes of the sample description of video before its boxes (ISO/IEC 14496-12, 12.1.3)."""
_CODER_NAME, _CODER_NAME_SIZE = 42, 32  # in it
_HANDLER_NAME = 24  # where the name begins in `hdlr`
_MIN_PRESENT = 0.9
"""Share of the length that the header of a fragmented file declares; writers round it up."""


class Track(NamedTuple):
    """The first track of a kind: fields of its first sample description, its length in units of 1 / `scale` seconds,
    and its number of MP4 samples."""

    fields: tuple[int, ...]
    scale: int
    duration: int
    samples: int


def read_header(data: bytes) -> VideoHeader:
    """Return the header of the first video track; `NO_VIDEO` where there is none.

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
    where there is none. Of a fragmented file the length is from its first fragment's time on, whatever that is.

    Raises: what `read_header` raises.
    """
    movie = _find_movie(data)
    for track in _list_tracks(data, movie):
        if _read_kind(data, track) == kind:
            fields = read_fields(form, data, _require(data, track, b"mdia", b"minf", b"stbl", b"stsd"), at)
            scale, duration = _read_duration(data, track)
            _, samples, _ = _read_sizes(data, track)
            if not is_fragmented(data, movie):
                return Track(fields, scale, duration, samples)
            runs = [run for run in list_runs(data, movie) if run.track == _read_number(data, track)]
            return Track(fields, scale, _find_length(runs, bool(samples)), samples + sum(run.samples for run in runs))
    return None


def _find_length(runs: list[FragmentRun], listed: bool) -> int:
    """Return the units of time from the first sample to the end; `listed`: the track's own box has the first."""
    begins = 0 if listed else min((run.begins for run in runs), default=0)
    return max((run.ends for run in runs), default=0) - begins


def check_whole(data: bytes) -> None:
    """Check that every box is complete, and that all frames and audio that the header lists lie within the file.

    Raises:
        Truncated: they do not.
        FormatFault: they take more bytes than the file has; or as `read_header`.
    """
    movie = _find_movie(data)
    for track in _list_tracks(data, movie):
        starts, ends = _list_chunks(data, track)
        if len(ends) and ends.max() > len(data):
            raise Truncated("frames or audio lie beyond the end")
        if (ends - starts).sum() > len(data):
            raise FormatFault("a track's parts overlap")
    if is_fragmented(data, movie):
        _check_fragments(data, movie)


def _check_fragments(data: bytes, movie: Box) -> None:
    """Check that all that the fragments list lies within the file, and that none is known to be missing at the end."""
    runs = list_runs(data, movie)
    if any(run.end > len(data) for run in runs):
        raise Truncated("frames or audio of a fragment lie beyond the end")
    if any(run.start < 0 for run in runs) or sum(run.end - run.start for run in runs) > len(data):
        raise FormatFault("parts of fragments overlap, or lie before the file")
    check_index(data)
    declared = _read_declared(data, movie)
    present = max((_find_seconds(data, track, runs) for track in _list_tracks(data, movie)), default=0.0)
    if present < _MIN_PRESENT * declared:
        raise Truncated("the fragments end before the length that the header declares")


def _read_declared(data: bytes, movie: Box) -> float:
    """Return the seconds that a fragmented file has by its header; 0 where it does not say."""
    box, head = find_box(data, movie, b"mvex", b"mehd"), find_box(data, movie, b"mvhd")
    if box is None or head is None:
        return 0.0
    (duration,) = read_fields(">Q" if data[box.body] == 1 else ">I", data, box, 4)
    (scale,) = read_fields(">I", data, head, 20 if data[head.body] == 1 else 12)
    return duration / scale if scale else 0.0


def _find_seconds(data: bytes, track: Box, runs: list[FragmentRun]) -> float:
    """Return the time at which the fragments of a track end."""
    scale, _ = _read_duration(data, track)
    number = _read_number(data, track)
    return max((run.ends for run in runs if run.track == number), default=0) / max(1, scale)


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
    movie = _find_movie(data)
    tracks = _list_tracks(data, movie)
    foreign = {_read_number(data, track) for track in tracks if _read_kind(data, track) not in _PLAYED}
    kept = _KEPT_OF_FRAGMENTS if is_fragmented(data, movie) else _KEPT_AT_TOP
    runs = list_runs(data, movie)
    edits = [(run.start, bytes(run.end - run.start)) for run in runs if run.track in foreign]
    for box in walk_boxes(data, 0, len(data)):
        if box.name not in kept:
            edits += free_box(box)
        elif box.name in _KEPT:
            edits += _plan_edits(data, box, foreign)
    return overwrite(data, edits)


def _plan_edits(data: bytes, parent: Box, foreign: set[int]) -> Iterator[tuple[int, bytes]]:
    """Yield what is written inside a box that holds others; `foreign` are the numbers of tracks to overwrite."""
    for box in walk_boxes(data, parent.body, parent.end):
        removed = box.name == b"trak" and _read_kind(data, box) not in _PLAYED
        if removed:
            for start, end in zip(*_list_chunks(data, box), strict=True):
                yield int(start), bytes(int(end - start))
        removed = removed or (box.name == b"traf" and read_track_number(data, box) in foreign)
        if removed or box.name not in _KEPT[parent.name]:
            yield from free_box(box)
        elif box.name in _KEPT:
            yield from _plan_edits(data, box, foreign)
        elif box.name == b"stsd":
            yield from _plan_description(data, box)
        elif box.name in _DATED and box.end - box.body >= 20:
            yield box.body + 4, bytes(16 if data[box.body] == 1 else 8)
        elif box.name == b"hdlr":
            yield box.body + _HANDLER_NAME, bytes(max(0, box.end - box.body - _HANDLER_NAME))


def _plan_description(data: bytes, descriptions: Box) -> Iterator[tuple[int, bytes]]:
    """Yield what is written inside the sample descriptions: the name of the coder, boxes with words, and the texts of
    colour profiles, go from those of video."""
    for entry in walk_boxes(data, descriptions.body + 8, descriptions.end):
        if entry.end - entry.body < _VIDEO_ENTRY or entry.name not in _VIDEO_CODINGS:
            continue
        yield entry.body + _CODER_NAME, bytes(_CODER_NAME_SIZE)
        for box in _walk_parts(data, entry):
            if box.name in (b"uuid", b"udta", b"meta", b"free", b"skip"):
                yield from free_box(box)
            elif box.name == b"colr" and data[box.body : box.body + 4] in (b"prof", b"rICC"):
                yield box.body + 4, blank_texts(data[box.body + 4 : box.end])


def _walk_parts(data: bytes, entry: Box) -> Iterator[Box]:
    """Yield the boxes of a sample description of video, as far as there are: QuickTime may end it with other bytes."""
    with suppress(FormatFault, Truncated):
        yield from walk_boxes(data, entry.body + _VIDEO_ENTRY, entry.end)


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


def _require(data: bytes, box: Box, *path: bytes) -> Box:
    found = find_box(data, box, *path)
    if found is None:
        raise FormatFault(f"a track without its box {path[-1].decode()}")
    return found


def _read_kind(data: bytes, track: Box) -> bytes:
    """Return the kind of a track: `vide`, `soun`, or another."""
    box = _require(data, track, b"mdia", b"hdlr")
    return data[box.body + 8 : min(box.body + 12, box.end)]


def _read_number(data: bytes, track: Box) -> int:
    """Return the number by which fragments name a track."""
    box = _require(data, track, b"tkhd")
    (version,) = read_fields("B", data, box, 0)
    return read_fields(">I", data, box, 20 if version == 1 else 12)[0]


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
    box = find_box(data, track, b"mdia", b"minf", b"stbl", b"stsz")
    if box is None:
        return 0, 0, np.empty(0, np.int64)
    size, count = read_fields(">II", data, box, 4)
    return size, count, np.empty(0, np.int64) if size else read_table(data, box, 12, count)


def _list_chunks(data: bytes, track: Box) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the offsets in the file at which each run of MP4 samples begins and ends."""
    table = _require(data, track, b"mdia", b"minf", b"stbl")
    short, long = find_box(data, table, b"stco"), find_box(data, table, b"co64")
    runs = find_box(data, table, b"stsc")
    box = short or long
    if box is None or runs is None:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    (count,) = read_fields(">I", data, box, 4)
    starts = read_table(data, box, 8, count, ">u4" if short else ">i8")
    (entries,) = read_fields(">I", data, runs, 4)
    firsts, per_chunk, _ = read_table(data, runs, 8, 3 * entries).reshape(-1, 3).T
    chunks = np.diff(np.append(firsts, count + 1))
    if not count:
        return starts, starts
    if not entries or firsts[0] != 1 or (chunks < 0).any() or (starts < 0).any():
        raise FormatFault("the table of chunks is out of order")
    size, samples, sizes = _read_sizes(data, track)
    edges = np.minimum(np.append(0, np.cumsum(np.repeat(per_chunk, chunks)[:count])), samples)
    offsets = edges * min(size, len(data) + 1) if size else np.append(0, np.cumsum(sizes))[edges]
    return starts, starts + np.diff(offsets)
