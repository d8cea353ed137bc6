"""Find the last frame of a FLAC file, which says how long the file is where its header does not.

What writes to a pipe cannot go back to the header. RFC 9639, section 9.
"""

from collections.abc import Iterator
from functools import cache
from itertools import islice

from pipeline.formats.format_errors import Truncated

MAX_FRAME_BYTES = 1 << 20
"""From the end, where the last frame is looked for: a frame of two channels has some 16 kB."""

MAX_HEADERS = 3
"""What looks like the header of the last frame, and is tried; one of 2²³ places within a frame looks so."""

_BLOCK_SIZES = {1: 192, **{code: 144 << code for code in range(2, 6)}, **{code: 1 << code for code in range(8, 16)}}
_RATE_BYTES = {12: 1, 13: 2, 14: 2}


def count_samples(data: bytes, start: int, end: int, block_size: int) -> int:
    """Return the samples per channel of the frames in `data[start:end]`.

    Args:
        data: the file.
        start: of the first frame.
        end: of the last one.
        block_size: samples in each frame but the last, where all have as many.

    Raises:
        Truncated: the file does not end with a whole frame.
    """
    sync = data[start : start + 2]
    for at, (number, samples) in islice(_find_headers(data, sync, start, end), MAX_HEADERS):
        if _compute_crc(data[at:end], 16, 0x8005) == 0:  # the last two bytes are that of those before
            return number + samples if sync[1] & 1 else number * block_size + samples
    raise Truncated("ends inside a frame")


def _find_headers(data: bytes, sync: bytes, start: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """Yield where headers of frames are, from the end on, and what they say."""
    at = end
    while (at := data.rfind(sync, max(start, end - MAX_FRAME_BYTES), at)) >= 0:
        if found := _read_header(data[at : at + 16]):
            yield at, found


def _read_header(head: bytes) -> tuple[int, int] | None:
    """Return the number of a frame, or of its first sample, and how many it has; None where no header is."""
    length = max(1, 8 - (~head[4] & 0xFF).bit_length()) if len(head) == 16 else 0
    size_code, rate_code = head[2] >> 4 if length else 0, head[2] & 15 if length else 0
    size_bytes = {6: 1, 7: 2}.get(size_code, 0)
    if not size_code or length > 7:
        return None
    size_at = 4 + length
    header_end = size_at + size_bytes + _RATE_BYTES.get(rate_code, 0)
    if _compute_crc(head[: header_end + 1], 8, 0x07) != 0:
        return None
    number = head[4] & (0x7F if length == 1 else (1 << (7 - length)) - 1)
    for byte in head[5:size_at]:
        number = number << 6 | byte & 0x3F
    coded = int.from_bytes(head[size_at : size_at + size_bytes], "big") + 1
    return number, coded if size_bytes else _BLOCK_SIZES[size_code]


@cache
def _make_table(bits: int, polynomial: int) -> tuple[int, ...]:
    table = []
    for value in range(256):
        register = value << (bits - 8)
        for _ in range(8):
            register = register << 1 ^ (polynomial if register >> (bits - 1) else 0)
            register &= (1 << bits) - 1
        table.append(register)
    return tuple(table)


def _compute_crc(content: bytes, bits: int, polynomial: int) -> int:
    """Return the cyclic redundancy check of FLAC's headers (8 bits) and frames (16); 0 with the check behind it."""
    table, register, mask = _make_table(bits, polynomial), 0, (1 << bits) - 1
    for byte in content:
        register = register << 8 & mask ^ table[register >> (bits - 8) ^ byte]
    return register
