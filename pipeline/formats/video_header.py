"""What the header of a video says, in any container, and how metadata is taken out of one without moving a byte.

Containers are full of offsets from one place to another. So what goes is overwritten in place with the filler that each
format has, and everything else stays where it was.
"""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class VideoHeader:
    """Pixels of a picture as stored, pictures, and seconds; all 0 where the file lists no pictures."""

    width: int
    height: int
    frames: int
    seconds: float


NO_VIDEO = VideoHeader(0, 0, 0, 0.0)


def overwrite(data: bytes, edits: Iterable[tuple[int, bytes]]) -> bytes:
    """`data` with bytes put in place of as many others, each at its offset; the same object where nothing changes."""
    changed = bytearray(data)
    for at, content in edits:
        changed[at : at + len(content)] = content
    assert len(changed) == len(data), "nothing moves"
    return data if changed == data else bytes(changed)
