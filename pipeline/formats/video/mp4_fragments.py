"""Find the runs of MP4 samples in the fragments of an MP4 file, as browsers, phones, DASH and HLS write it.

The box `moov` then only describes the tracks; each `moof` lists samples that lie in the file near it. ISO/IEC 14496-12,
section 8.8 for the boxes of fragments, 8.16.3 for the index `sidx`.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.iso_boxes import Box, find_box, read_fields, read_table, walk_boxes

_BASE, _DESCRIPTION, _DURATION, _SIZE, _FROM_MOOF = 0x1, 0x2, 0x8, 0x10, 0x20000  # flags of `tfhd`
_RUN_OFFSET, _RUN_FLAGS, _RUN_DURATIONS, _RUN_SIZES = 0x1, 0x4, 0x100, 0x200  # flags of `trun`
_RUN_COLUMNS = (_RUN_DURATIONS, _RUN_SIZES, 0x400, 0x800)
"""The fields of a sample in a run, in their order."""


class FragmentRun(NamedTuple):
    """Samples that lie at `data[start:end]`: their track's number, how many they are, the time of the first in decoding
    order and that after the last, in units of the track."""

    track: int
    start: int
    end: int
    samples: int
    begins: int
    ends: int


class _Defaults(NamedTuple):
    """Duration and bytes of a sample for which its run gives none."""

    duration: int
    size: int


def is_fragmented(data: bytes, movie: Box) -> bool:
    """Return whether the box that describes the file says that fragments follow."""
    return find_box(data, movie, b"mvex") is not None


def list_runs(data: bytes, movie: Box) -> list[FragmentRun]:
    """Return the runs of all tracks in the order of the file; none where it is not fragmented.

    Raises:
        FormatFault: a box is longer than the one around it, or too short for what it must hold; or a fragment is of a
            track that the file does not describe.
        Truncated: the file ends inside a box.
    """
    defaults = dict(_walk_defaults(data, movie))
    times = dict.fromkeys(defaults, 0)  # the end of each track so far
    runs: list[FragmentRun] = []
    for moof in walk_boxes(data, 0, len(data)) if defaults else ():
        at = moof.start
        for traf in walk_boxes(data, moof.body, moof.end) if moof.name == b"moof" else ():
            for run in _walk_runs(data, (moof, traf), defaults, times, at) if traf.name == b"traf" else ():
                runs.append(run)
                times[run.track], at = run.ends, run.end
    return runs


def read_track_number(data: bytes, traf: Box) -> int:
    """Return the number of the track that a box `traf` continues.

    Raises:
        FormatFault: its header is missing or too short.
    """
    head = find_box(data, traf, b"tfhd")
    if head is None:
        raise FormatFault("a fragment of a track without its header")
    return read_fields(">I", data, head, 4)[0]


def check_index(data: bytes) -> None:
    """Check that the file is as long as the boxes `sidx` say.

    Raises:
        Truncated: fragments that one lists lie beyond the end.
        FormatFault: one is too short.
    """
    for box in walk_boxes(data, 0, len(data)):
        if box.name == b"sidx":
            (version,) = read_fields("B", data, box, 0)
            (count,) = read_fields(">H", data, box, 30 if version else 22)
            (offset,) = read_fields(">Q", data, box, 20) if version else read_fields(">I", data, box, 16)
            sizes = read_table(data, box, 32 if version else 24, 3 * count).reshape(-1, 3)[:, 0] & 0x7FFFFFFF
            if box.end + offset + int(sizes.sum()) > len(data):
                raise Truncated("fragments that its index lists lie beyond the end")


def _walk_defaults(data: bytes, movie: Box) -> Iterator[tuple[int, _Defaults]]:
    extends = find_box(data, movie, b"mvex")
    for box in walk_boxes(data, extends.body, extends.end) if extends else ():
        if box.name == b"trex":
            number, _, duration, size = read_fields(">IIII", data, box, 4)
            yield number, _Defaults(duration, size)


def _walk_runs(
    data: bytes, boxes: tuple[Box, Box], defaults: dict[int, _Defaults], times: dict[int, int], at: int
) -> Iterator[FragmentRun]:
    """Yield the runs of a `traf` in its `moof`. `at` is where they begin unless a box says where."""
    moof, traf = boxes
    number = read_track_number(data, traf)
    if number not in defaults:
        raise FormatFault("a fragment of a track that the file does not describe")
    base, default = _read_head(data, boxes, defaults[number])
    at = at if base is None else base
    time = _read_time(data, traf, times[number])
    for box in walk_boxes(data, traf.body, traf.end):
        if box.name == b"trun":
            start, durations, sizes, count = _read_run(data, box, default, moof.start if base is None else base)
            at = at if start is None else start
            yield FragmentRun(number, at, at + sizes, count, time, time + durations)
            at, time = at + sizes, time + durations


def _read_head(data: bytes, boxes: tuple[Box, Box], default: _Defaults) -> tuple[int | None, _Defaults]:
    """Return the offset in the file that those of runs are relative to, if the header says so, and its defaults."""
    moof, traf = boxes
    head = find_box(data, traf, b"tfhd")
    assert head is not None, "its number was read"
    flags = read_fields(">I", data, head, 0)[0] & 0xFFFFFF
    base = moof.start if flags & _FROM_MOOF else None
    at = 8
    if flags & _BASE:
        (base,), at = read_fields(">Q", data, head, at), at + 8
    at += 4 * bool(flags & _DESCRIPTION)
    duration, size = default
    if flags & _DURATION:
        (duration,), at = read_fields(">I", data, head, at), at + 4
    if flags & _SIZE:
        (size,) = read_fields(">I", data, head, at)
    return base, _Defaults(duration, size)


def _read_time(data: bytes, traf: Box, after: int) -> int:
    """Return when the first sample is decoded: `after` the fragment before, unless a box says when."""
    box = find_box(data, traf, b"tfdt")
    if box is None:
        return after
    (version,) = read_fields("B", data, box, 0)
    return read_fields(">Q" if version == 1 else ">I", data, box, 4)[0]


def _read_run(data: bytes, box: Box, default: _Defaults, base: int) -> tuple[int | None, int, int, int]:
    """Return where a run begins, if it says so, the sums of its samples' durations and bytes, and their number."""
    flags, count = read_fields(">II", data, box, 0)
    start, at = None, 8
    if flags & _RUN_OFFSET:
        (offset,), at = read_fields(">i", data, box, at), at + 4
        start = base + offset
    at += 4 * bool(flags & _RUN_FLAGS)
    columns = [column for column in _RUN_COLUMNS if flags & column]
    table: NDArray[np.int64] = read_table(data, box, at, count * len(columns)).reshape(-1, max(1, len(columns)))
    sums = {column: int(table[:, place].sum()) for place, column in enumerate(columns)}
    durations = sums.get(_RUN_DURATIONS, count * default.duration)
    return start, durations, sums.get(_RUN_SIZES, count * default.size), count
