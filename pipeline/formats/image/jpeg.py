"""Read the header and orientation of JPEG files, check that they are complete and strip metadata, without decoding.

A file is a sequence of segments, each a marker (0xFF and a code) with a two-byte length; after each start of scan come
entropy-coded bytes up to the next marker that is neither stuffing (0xFF00) nor a restart. ITU-T T.81, annex B; JFIF
1.02; the bytes between segments that decoders skip are skipped here too, and never kept.
"""

import re
import struct
from dataclasses import dataclass

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.icc_profile import blank_texts
from shardwright.format.exif_orientation import UPRIGHT
from shardwright.format.exif_orientation import read_orientation as read_exif_orientation

_START, _END, SCAN, _COMMENT = 0xD8, 0xD9, 0xDA, 0xFE
_APP0, _APP1, _APP2, _APP14, _APP15 = 0xE0, 0xE1, 0xE2, 0xEE, 0xEF
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # those three are tables, not frame headers
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length: TEM and restarts

_MARKER = re.compile(rb"\xff([^\x00\xff])", re.DOTALL)
_SCAN_END = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)

_EXIF = b"Exif\0\0"
_KEPT = {_APP0: b"JFIF\0", _APP2: b"ICC_PROFILE\0", _APP14: b"Adobe"}
"""Application segments that decide how pixels look. All others say who took the image, where and with what."""

MAX_SCANS = 500
"""A decoder goes over all pixels once per scan; libjpeg-turbo's fuzzers stop here too. Encoders write 1 to some 20."""

_PROFILE_NUMBER = 4 + len(b"ICC_PROFILE\0")  # where a segment has the number of its part
_PROFILE_AT = _PROFILE_NUMBER + 2
_ADOBE_LENGTH = 12
_JFIF_LENGTH = 14  # of a JFIF segment without a thumbnail, which would show the image before it was cropped


@dataclass(frozen=True, slots=True)
class JpegHeader:
    """Size in pixels as stored, before orientation; channels are 1 (grey), 3 (YCbCr, RGB) or 4 (CMYK, YCCK)."""

    width: int
    height: int
    channels: int
    precision: int


_Segment = tuple[int, int, int]
"""Its code, start and end, from the 0xFF of its marker on; a scan with its entropy-coded bytes."""


def read_header(data: bytes) -> JpegHeader:
    """Return the frame header; what follows it is not read.

    Raises:
        FormatFault: it is not a JPEG file, or has no frame header, or one that the standard does not allow.
        Truncated: the file ends before its frame header.
    """
    for code, start, end in _list_head(data):
        if code in _FRAMES:
            return _decode_frame(data[start + 4 : end])
        if code in (SCAN, _END):
            raise FormatFault("no frame header")
    raise Truncated("ends before the frame header")


def read_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where the file has none before its first scan."""
    for code, start, end in _list_head(data):
        if code == _APP1 and data.startswith(_EXIF, start + 4, end):
            return read_exif_orientation(data[start + 4 + len(_EXIF) : end])
    return UPRIGHT


def list_metadata(data: bytes) -> list[tuple[int, bytes]]:
    """Return code and content of the application segments and comments before the first scan.

    Raises:
        FormatFault: as `read_header`.
    """
    segments = _list_head(data)
    return [
        (code, data[start + 4 : end]) for code, start, end in segments if code == _COMMENT or _APP0 <= code <= _APP15
    ]


def check_whole(data: bytes) -> None:
    """Check that the file has a frame, scans and an end marker.

    Damage inside a scan is not found here: entropy-coded bytes have no checksum.

    Raises:
        Truncated: it ends before that.
        FormatFault: more than `MAX_SCANS` scans; or as `read_header`.
    """
    read_header(data)
    codes = [code for code, _, _ in list_segments(data)]
    if codes[-1] != _END:
        raise Truncated("no end marker")
    if not 1 <= codes.count(SCAN) <= MAX_SCANS:
        raise FormatFault(f"{codes.count(SCAN)} scans")


def strip_metadata(data: bytes) -> bytes:
    """Return the file without EXIF, XMP, IPTC, comments, thumbnails, bytes between segments and bytes after its end.

    What decoders need stays, byte for byte: JFIF, ICC profile without its texts, Adobe's colour transform, tables and
    scans. It is the same object where nothing is removed. A file that is cut off gets an end marker, without which some
    read nothing.
    """
    segments = list_segments(data)
    profile = _blank_profile(data, segments)
    parts = [data[:2], *(profile.get(segment[1]) or _strip_segment(data, segment) for segment in segments)]
    if not segments or segments[-1][0] != _END:
        parts.append(bytes([0xFF, _END]))
    stripped = b"".join(parts)
    return data if stripped == data else stripped


def _decode_frame(frame: bytes) -> JpegHeader:
    if len(frame) < 6:
        raise FormatFault("the frame header is too short")
    precision, height, width, channels = struct.unpack_from(">BHHB", frame)
    if not (width and height and channels and len(frame) >= 6 + 3 * channels):
        raise FormatFault("the frame header has no size or too few components")
    return JpegHeader(width, height, channels, precision)


def _blank_profile(data: bytes, segments: list[_Segment]) -> dict[int, bytes]:
    """Return the segments of the ICC profile by their start, without its texts; they hold parts of it, each after its
    number and their count (ICC.1:2022, B.4)."""
    parts = [each for each in segments if each[0] == _APP2 and data.startswith(_KEPT[_APP2], each[1] + 4, each[2])]
    parts.sort(key=lambda part: data[part[1] + _PROFILE_NUMBER : part[1] + _PROFILE_AT])
    profile = blank_texts(b"".join(data[start + _PROFILE_AT : end] for _, start, end in parts))
    blank, at = {}, 0
    for _, start, end in parts:
        size = max(0, end - start - _PROFILE_AT)
        blank[start] = data[start : min(end, start + _PROFILE_AT)] + profile[at : at + size]
        at += size
    return blank


def _strip_segment(data: bytes, segment: _Segment) -> bytes:
    code, start, end = segment
    if code == _COMMENT or _APP0 <= code <= _APP15:
        if code not in _KEPT or not data.startswith(_KEPT[code], start + 4, end):
            return b""
        if code == _APP14 and end - start > 4 + _ADOBE_LENGTH:
            return b"\xff\xee" + struct.pack(">H", _ADOBE_LENGTH + 2) + data[start + 4 : start + 4 + _ADOBE_LENGTH]
        if code == _APP0 and end - start > 2 + _JFIF_LENGTH + 2:
            return (
                b"\xff\xe0" + struct.pack(">H", _JFIF_LENGTH + 2) + data[start + 4 : start + 2 + _JFIF_LENGTH] + b"\0\0"
            )
    return data[start:end]


_last: list[tuple[bytes, list[_Segment], list[_Segment]]] = []
"""The last file that was listed, since several questions are asked of one, with its head, and all of its segments once
they were asked for."""


def _list_head(data: bytes) -> list[_Segment]:
    """Return the segments after the start marker up to the first scan, whose entropy-coded bytes, most of the file, are
    not read and do not count; or as far as the bytes go.

    Raises:
        FormatFault: the bytes do not begin as a JPEG file does, or a length is impossible.
        Truncated: there are fewer bytes than a start marker has.
    """
    for known, head, _ in _last:
        if known is data:
            return head
    if data[:2] != b"\xff\xd8":
        raise FormatFault("no start marker") if len(data) >= 2 else Truncated("shorter than a start marker")
    head = _walk_segments(data, 2, scans=False)
    _last[:] = [(data, head, [])]
    return head


def list_segments(data: bytes) -> list[_Segment]:
    """Return all segments up to the end marker, or as far as the bytes go. Raises what `_list_head` raises."""
    head = _list_head(data)
    if not head or head[-1][0] != SCAN:
        return head
    _, _, whole = _last[0]
    if not whole:
        whole += [*head[:-1], *_walk_segments(data, head[-1][1], scans=True)]
    return whole


def _walk_segments(data: bytes, at: int, scans: bool) -> list[_Segment]:
    """Return the segments from `at` on. Linear in their number. Without `scans` the first scan is the last segment."""
    segments: list[_Segment] = []
    while True:
        if data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] not in (b"", b"\0", b"\xff"):
            start = at  # nothing lies between the segments, as usual: a search takes as long as all else here
        elif found := _MARKER.search(data, at):
            start = found.start()
        else:
            return segments
        code, at = data[start + 1], start + 2
        if code == _START:
            raise FormatFault("a second start marker")
        if code in _BARE:
            continue
        if code != _END:
            at = _find_segment_end(data, at)
            if at == 0:
                return segments
        if code == SCAN and scans:
            at = _find_scan_end(data, at)
        segments.append((code, start, at))
        if code == _END or (code == SCAN and not scans):
            return segments


def _find_segment_end(data: bytes, at: int) -> int:
    """Return the end of the segment whose length field is at `at`; 0 where that lies beyond the bytes."""
    if at + 2 > len(data):
        return 0
    length = data[at] << 8 | data[at + 1]
    if length < 2:
        raise FormatFault("a segment shorter than its own length")
    end = at + length
    return end if end <= len(data) else 0


def _find_scan_end(data: bytes, at: int) -> int:
    """Return the end of the entropy-coded bytes that begin at `at`."""
    found = _SCAN_END.search(data, at)
    return found.start() if found else len(data)
