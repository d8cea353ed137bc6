"""Define the header of a video, the same for all containers, and overwrite metadata without moving a byte.

Containers are full of offsets into themselves. So metadata is overwritten in place with the filler that each format
has, and everything else stays where it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VideoHeader:
    """Pixels of a frame as stored, number of frames, and seconds; all 0 where the file lists no frames."""

    width: int
    height: int
    frames: int
    seconds: float


NO_VIDEO = VideoHeader(0, 0, 0, 0.0)


def overwrite(data: bytes, edits: Iterable[tuple[int, bytes]]) -> bytes:
    """Return `data` with bytes replaced by as many others, each at its offset; the same object where nothing
    changes."""
    changed = bytearray(data)
    for at, content in edits:
        changed[at : at + len(content)] = content
    assert len(changed) == len(data), "nothing moves"
    return data if changed == data else bytes(changed)
