"""Read an animated WebP as a video: the frames with their times, all of them complete, without metadata.

RFC 9649, section 2.7.1.1. The background colour of the header is ignored, as browsers ignore it: the canvas is
transparent before the first frame.
"""

from collections.abc import Iterator

from pipeline.formats.image import webp
from pipeline.formats.image.webp_chunks import (
    ALPHA,
    EXTENDED,
    FRAME,
    FRAME_HEAD,
    PIXELS,
    WebpChunk,
    check_frame,
    encode_chunk,
    encode_file,
    join_chunks,
    read_24_bits,
    read_end,
    read_place,
    select_chunks,
    walk_chunks,
)
from pipeline.formats.video.animation import AnimationFrame, Disposal, find_seconds, summarize_frames
from pipeline.formats.video.header import VideoHeader

_CLEARED, _REPLACING = 1, 2  # flags of a frame


def read_header(data: bytes) -> VideoHeader:
    """Return the size of the canvas, the number of frames, and the sum of their times.

    Raises:
        FormatFault: a frame lies beyond the canvas; or as `webp.read_header`.
        Truncated: the file ends inside its header.
    """
    canvas = webp.read_header(data)
    return summarize_frames(canvas.width, canvas.height, walk_frames(data))


def check_whole(data: bytes) -> None:
    """Check that every chunk is complete, and that every frame has pixels of its size.

    Raises:
        Truncated: the file ends before that.
        FormatFault: pixels have another size; or as `read_header`.
    """
    webp.check_whole(data)
    canvas = webp.read_header(data)
    for frame in _walk_frame_chunks(data):
        check_frame(data, frame, (canvas.width, canvas.height))


def strip_metadata(data: bytes) -> bytes:
    """Return the file without EXIF, XMP, unknown chunks and bytes after its end. It is the same object where nothing is
    removed.

    Raises:
        FormatFault: as `webp.read_header`.
    """
    head = [chunk for chunk in select_chunks(data, 12, read_end(data)) if chunk.name != FRAME]
    stripped = encode_file(data, [*head, *_walk_frame_chunks(data)])
    return data if stripped == data else stripped


def walk_frames(data: bytes) -> Iterator[AnimationFrame]:
    """Yield the frames in their order, as far as the bytes go.

    Raises:
        FormatFault: a chunk is longer than what is around it, or too short.
    """
    for frame in _walk_frame_chunks(data):
        left, top, width, height = read_place(data, frame)
        delay, flags = read_24_bits(data, frame.body + 12), data[frame.body + 15]
        still = _encode_still(data, frame)
        disposal: Disposal = "clear" if flags & _CLEARED else "keep"
        blended = not flags & _REPLACING
        yield AnimationFrame(left, top, width, height, find_seconds(delay / 1000), disposal, blended, still)


def _walk_frame_chunks(data: bytes) -> Iterator[WebpChunk]:
    whole = (chunk for chunk in walk_chunks(data, 12, read_end(data)) if chunk.end <= len(data))
    return (chunk for chunk in whole if chunk.name == FRAME)


def _encode_still(data: bytes, frame: WebpChunk) -> bytes:
    """Return a file of one frame; one with a chunk of alpha needs the extended header."""
    chunks = list(select_chunks(data, frame.body + FRAME_HEAD, frame.end))
    parts = [(chunk.name, data[chunk.body : chunk.end]) for chunk in chunks if chunk.name in (b"ALPH", *PIXELS)]
    if parts and parts[0][0] == b"ALPH":
        parts.insert(0, (EXTENDED, bytes([ALPHA, 0, 0, 0]) + data[frame.body + 6 : frame.body + 12]))
    return join_chunks([encode_chunk(name, content) for name, content in parts])
