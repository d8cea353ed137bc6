"""Read the header of AVI files, check their chunks and strip metadata, without decoding a frame.

RIFF is a sequence of chunks: name, length, content, and a zero where the length is odd; those named RIFF and LIST hold
a name and chunks again. Microsoft, AVI RIFF File Reference; OpenDML AVI 1.02 (1996) for files of more than one RIFF.
"""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.video.header import NO_VIDEO, VideoHeader, overwrite

_KEPT = {
    b"AVI ": (b"hdrl", b"movi", b"idx1"),
    b"AVIX": (b"movi", b"idx1"),
    b"hdrl": (b"avih", b"strl", b"odml"),
    b"strl": (b"strh", b"strf", b"indx", b"vprp"),
}
"""The chunks to keep in each chunk that holds others. All others hold text, dates and whatever a program left there."""
_STREAMS = (b"vids", b"auds")


class _AviChunk(NamedTuple):
    """`data[start:end]`, its content from `body` on; `name` is a list's own."""

    name: bytes
    start: int
    body: int
    end: int


class _Stream(NamedTuple):
    """The kind of a stream, the length of a time unit as a fraction (`scale` / `rate` seconds), the number of units,
    and the size of its frames."""

    kind: bytes
    scale: int
    rate: int
    length: int
    width: int
    height: int


def read_header(data: bytes) -> VideoHeader:
    """Return the header of the first video stream; `NO_VIDEO` where there is none.

    Raises:
        FormatFault: it is not an AVI file, or a chunk is longer than the one around it, or too short.
        Truncated: the file ends inside a chunk, or before its frames.
    """
    for stream in _list_streams(data):
        if stream.kind == b"vids":
            seconds = stream.length * stream.scale / stream.rate if stream.rate else 0.0
            return VideoHeader(stream.width, stream.height, stream.length, seconds) if stream.length else NO_VIDEO
    return NO_VIDEO


def check_whole(data: bytes) -> None:
    """Check that every chunk is complete, and that there are frames.

    Raises:
        Truncated: it is not.
        FormatFault: as `read_header`.
    """
    if not any(_find_list(data, riff, b"movi") for riff in _list_riffs(data)):
        raise Truncated("no frames")


def strip_metadata(data: bytes) -> bytes:
    """Return the file with only the chunks that playing it needs, the others made into junk of zeros; without the
    content of streams that are neither video nor audio; and without bytes after its end.

    Frames and audio are untouched: what an encoder wrote about itself among them stays. It is the same object where
    nothing is removed.

    Raises:
        FormatFault: as `read_header`.
        Truncated: likewise.
    """
    check_whole(data)
    foreign = {b"%02d" % n for n, stream in enumerate(_list_streams(data)) if stream.kind not in _STREAMS}
    edits: list[tuple[int, bytes]] = []
    riffs = _list_riffs(data)
    for riff in riffs:
        edits += _plan_edits(data, riff, foreign)
    end = riffs[-1].end
    return overwrite(data if end == len(data) else data[:end], edits)


def _plan_edits(data: bytes, parent: _AviChunk, foreign: set[bytes]) -> Iterator[tuple[int, bytes]]:
    """Yield what is written inside a chunk that holds others; `foreign` are the numbers of streams to overwrite."""
    for chunk in _walk_chunks(data, parent.body, parent.end):
        if chunk.name not in _KEPT[parent.name]:
            yield chunk.start, b"JUNK"
            yield chunk.start + 8, bytes(chunk.end - chunk.start - 8)
        elif chunk.name in _KEPT:
            yield from _plan_edits(data, chunk, foreign)
        elif chunk.name == b"movi" and foreign:
            for part in _walk_stream_chunks(data, chunk):
                if part.name[:2] in foreign:
                    yield part.body, bytes(part.end - part.body)


def _walk_stream_chunks(data: bytes, movie: _AviChunk) -> Iterator[_AviChunk]:
    """Yield the chunks of all streams; some are grouped to be read at once."""
    for chunk in _walk_chunks(data, movie.body, movie.end):
        if chunk.name == b"rec ":
            yield from _walk_chunks(data, chunk.body, chunk.end)
        else:
            yield chunk


def _list_streams(data: bytes) -> list[_Stream]:
    headers = _find_list(data, _list_riffs(data)[0], b"hdrl")
    if headers is None:
        raise Truncated("no headers")
    lists = [chunk for chunk in _walk_chunks(data, headers.body, headers.end) if chunk.name == b"strl"]
    return [_read_stream(data, chunk) for chunk in lists]


def _read_stream(data: bytes, chunk: _AviChunk) -> _Stream:
    header, form = (_find_list(data, chunk, name) for name in (b"strh", b"strf"))
    if header is None or form is None or header.end - header.body < 36:
        raise FormatFault("a stream without its header, or with one too short")
    kind = data[header.body : header.body + 4]
    scale, rate, _, length = struct.unpack_from("<IIII", data, header.body + 20)
    if kind != b"vids":
        return _Stream(kind, scale, rate, length, 0, 0)
    if form.end - form.body < 12:
        raise FormatFault("a video stream without the size of its frames")
    width, height = struct.unpack_from("<ii", data, form.body + 4)
    return _Stream(kind, scale, rate, length, abs(width), abs(height))  # negative where rows go from the top down


def _find_list(data: bytes, parent: _AviChunk, name: bytes) -> _AviChunk | None:
    return next((chunk for chunk in _walk_chunks(data, parent.body, parent.end) if chunk.name == name), None)


def _list_riffs(data: bytes) -> list[_AviChunk]:
    """Return the RIFFs of the file, up to the first bytes that are none.

    Raises:
        Truncated: the file ends inside one.
        FormatFault: the first is not AVI.
    """
    riffs: list[_AviChunk] = []
    at = 0
    while data[at : at + 4] == b"RIFF" or not riffs:
        if at + 12 > len(data):
            raise Truncated("ends inside a RIFF header")
        (size,) = struct.unpack_from("<I", data, at + 4)
        riff = _AviChunk(data[at + 8 : at + 12], at, at + 12, at + 8 + size)
        if data[at : at + 4] != b"RIFF" or riff.name != (b"AVIX" if riffs else b"AVI "):
            raise FormatFault("not RIFF, or not AVI")
        if riff.end > len(data) or size < 4:
            raise Truncated("ends inside a RIFF")
        riffs.append(riff)
        at = riff.end + size % 2
    return riffs


def _walk_chunks(data: bytes, at: int, end: int) -> Iterator[_AviChunk]:
    """Yield the chunks between two offsets; a list has its own name, and its content begins after it.

    Raises:
        FormatFault: one is longer than the one around it.
    """
    while at + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, at)
        stop = at + 8 + size
        if stop > end:
            raise FormatFault("a chunk is longer than the one around it")
        is_list = name == b"LIST" and size >= 4
        yield _AviChunk(data[at + 8 : at + 12], at, at + 12, stop) if is_list else _AviChunk(name, at, at + 8, stop)
        at = stop + size % 2
