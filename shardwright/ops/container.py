"""Open MP4 and Matroska files by FFmpeg, from bytes in memory.

The container's format is given, not guessed, and no protocol is allowed: a file that names other files or addresses
gets none of them.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shardwright.ops.explain_missing import explain_missing

MAX_STREAMS = 64

BOXES = (b"ftyp", b"moov", b"moof", b"mdat", b"free", b"skip", b"wide", b"uuid", b"sidx", b"styp", b"mfra", b"meta")
"""At the top of an MP4 file; what begins otherwise is no box but something after the file's end."""

SEGMENT = b"\x18\x53\x80\x67"
"""The element of Matroska that has all others (RFC 9559, section 5.1)."""


@contextmanager
def open_container(data: bytes, container: str) -> Iterator[Any]:
    """Open a file by PyAV, and close it at the end.

    Args:
        data: of the file.
        container: FFmpeg's name of the format: "mov" (MP4), "matroska" or "aac".

    Raises:
        ValueError: FFmpeg cannot read it, here or within; it was cut; or it has more than `MAX_STREAMS` streams.
        ModuleNotFoundError: PyAV is not installed.
    """
    with explain_missing("MP4, Matroska and AAC files are decoded"):
        import av
    if container in CHECKS:
        CHECKS[container](data)
    try:
        with av.open(io.BytesIO(data), "r", container, options={"protocol_whitelist": "none"}) as file:
            if len(file.streams) > MAX_STREAMS:
                raise ValueError(f"it has {len(file.streams)} streams; at most {MAX_STREAMS} are allowed")
            yield file
    except (av.FFmpegError, OverflowError) as error:
        raise ValueError(f"FFmpeg cannot decode it: {getattr(error, 'strerror', error)}") from error


def check_boxes(data: bytes) -> None:
    """Check that an MP4 file has all of its boxes (ISO/IEC 14496-12, section 4.2).

    Raises:
        ValueError: it ends within one.
    """
    at = 0
    while data[at + 4 : at + 8] in BOXES:
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        at += size or len(data) - at
        if at > len(data):
            raise ValueError(f"it has {len(data)} bytes; its boxes need {at}")
        if size in range(1, 8):
            raise ValueError(f"a box has {size} bytes; its header alone has 8")


def check_segment(data: bytes) -> None:
    """Check that a Matroska file has all of its segment, where its size is known (RFC 8794, sections 4 and 6).

    Raises:
        ValueError: it ends within.
    """
    start = data.find(SEGMENT, 0, 4096) + len(SEGMENT)
    if start < len(SEGMENT) or start == len(data):
        return
    width = 9 - data[start].bit_length()
    size = int.from_bytes(data[start : start + width], "big") & (1 << 7 * width) - 1
    if width <= 8 and size != (1 << 7 * width) - 1 and start + width + size > len(data):
        raise ValueError(f"it has {len(data)} bytes; its segment needs {start + width + size}")


CHECKS = {"mov": check_boxes, "matroska": check_segment}
"""By container, what finds a file that was cut."""
