"""Find where the audio of a file begins and ends between the tags that players put before and after it.

ID3v2 (id3.org, ID3v2.4 structure, section 3) before, ID3v1, APEv2 and Lyrics3v2 after. Tags hold titles, images and
whatever a program left there.
"""

import struct

_ID3_HEAD = 10
_ID3_FOOTER = 0x10
_ID3V1_SIZE = 128
_APE_SIZE = 32
_LYRICS_TAIL = 15  # six digits and LYRICS200


def skip_id3(data: bytes, at: int = 0) -> int:
    """Return where the ID3v2 tags that begin at `at` end; it may lie beyond the end of the file."""
    while data[at : at + 3] == b"ID3" and len(data) >= at + _ID3_HEAD and max(data[at + 6 : at + 10]) < 0x80:
        size = 0
        for byte in data[at + 6 : at + 10]:
            size = size << 7 | byte
        at += _ID3_HEAD + size + (_ID3_HEAD if data[at + 5] & _ID3_FOOTER else 0)
    return at


def find_audio(data: bytes) -> tuple[int, int]:
    """Return where the bytes between the tags begin and end; the start may lie beyond the end of the file."""
    start, end, before = skip_id3(data), len(data), -1
    while end != before:
        before = end
        end = max(_cut_last_tag(data, end), start)
    return start, end


def _cut_last_tag(data: bytes, end: int) -> int:
    """Return where the last tag before `end` begins; `end` where there is none."""
    if data[max(0, end - _ID3V1_SIZE) : end].startswith(b"TAG") and end >= _ID3V1_SIZE:
        return end - _ID3V1_SIZE
    foot = data[max(0, end - _APE_SIZE) : end]
    if foot.startswith(b"APETAGEX") and len(foot) == _APE_SIZE:
        size, _, flags = struct.unpack_from("<III", foot, 12)
        head = _APE_SIZE if flags >> 31 else 0
        return max(0, end - int(size) - head)
    tail = data[max(0, end - _LYRICS_TAIL) : end]
    if tail.endswith(b"LYRICS200") and tail[:6].isdigit():
        return max(0, end - _LYRICS_TAIL - int(tail[:6]))
    if data[max(0, end - _ID3_HEAD) : end].startswith(b"3DI") and end >= _ID3_HEAD:
        size = 0
        for byte in data[end - 4 : end]:
            size = size << 7 | byte & 0x7F
        return max(0, end - 2 * _ID3_HEAD - size)
    return end
