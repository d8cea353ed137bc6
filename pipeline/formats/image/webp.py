"""Read the header and orientation of WebP files, check their chunks and strip metadata, without decoding a pixel.

Of an animation the first frame is read and kept; as a video it is parsed by `pipeline.formats.video.webp_animation`.
"""

from pipeline.formats.format_errors import FormatFault, Truncated
from pipeline.formats.image.image_header import ImageHeader
from pipeline.formats.image.webp_chunks import (
    ALPHA,
    EXTENDED,
    EXTENDED_SIZE,
    FRAME,
    check_frame,
    check_pixels,
    encode_file,
    read_24_bits,
    read_end,
    read_pixels,
    select_chunks,
    walk_chunks,
)
from shardwright.format.exif_orientation import UPRIGHT
from shardwright.format.exif_orientation import read_orientation as read_exif_orientation


def read_header(data: bytes) -> ImageHeader:
    """Return the header of the canvas.

    Raises:
        FormatFault: it is not a WebP file, or the pixels have another size than its header says.
        Truncated: the file ends inside its header.
    """
    first = next(walk_chunks(data, 12, read_end(data)), None)
    if first is None:
        raise Truncated("no chunk")
    if first.name != EXTENDED:
        return read_pixels(data, first)
    if first.end - first.body < EXTENDED_SIZE:
        raise FormatFault("the extended header is too short")
    if len(data) < first.body + EXTENDED_SIZE:
        raise Truncated("ends inside the extended header")
    width, height = (read_24_bits(data, first.body + at) + 1 for at in (4, 7))
    return ImageHeader(width, height, 4 if data[first.body] & ALPHA else 3)


def read_orientation(data: bytes) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none."""
    for chunk in walk_chunks(data, 12, read_end(data)):
        if chunk.name == b"EXIF":
            return read_exif_orientation(data[chunk.body : chunk.end].removeprefix(b"Exif\0\0"))
    return UPRIGHT


def check_whole(data: bytes) -> None:
    """Check that every chunk is complete, and that there are pixels of the size that the header says.

    Raises:
        Truncated: the file ends before that.
        FormatFault: the pixels have another size; or as `read_header`.
    """
    header = read_header(data)
    end = read_end(data)
    if end > len(data):
        raise Truncated("ends inside its chunks")
    frame = next((chunk for chunk in walk_chunks(data, 12, end) if chunk.name == FRAME), None)
    if frame is None:
        check_pixels(data, 12, end, (header.width, header.height))
    else:
        check_frame(data, frame, (header.width, header.height))


def strip_metadata(data: bytes) -> bytes:
    """Return the file without EXIF, XMP, unknown chunks, bytes after its end and all frames but the first.

    All chunks that decoders need stay, byte for byte. It is the same object where nothing is removed.

    Raises:
        FormatFault: as `read_header`.
    """
    stripped = encode_file(data, list(select_chunks(data, 12, read_end(data))))
    return data if stripped == data else stripped
