"""Blank the texts in ICC profiles: descriptions, copyrights, names of devices, dates. Their colours and length stay.

A profile is a header of 128 bytes, a table of tags (signature, offset, size: big-endian) and what these hold.
ICC.1:2022, clauses 7 to 10.
"""

import struct

_HEADER = 128
_ENTRY = 12
_MAX_TAGS = 1000

_COLOUR_TAGS = frozenset(
    b"A2B0 A2B1 A2B2 A2B3 B2A0 B2A1 B2A2 B2A3 D2B0 D2B1 D2B2 D2B3 B2D0 B2D1 B2D2 B2D3 rXYZ gXYZ bXYZ rTRC gTRC bTRC "
    b"kTRC wtpt bkpt chad lumi meas gamt pre0 pre1 pre2 tech view chrm cicp vcgt ndin aarg aagg aabg clrt clot ncl2 "
    b"rig0 rig2 bfd  mAB  mBA".split()
)
"""Tags that decide how pixels look, or say how they were measured, in numbers. All others hold text."""

_BLANKED_FIELDS = ((24, 36), (48, 56), (80, 100))
"""Of the header: date and time; manufacturer and model of the device; creator and id (an MD5, which may be zeros)."""


def blank_texts(profile: bytes) -> bytes:
    """Return a profile without its texts, and zeros for whatever no tag refers to; an unreadable one is zeros after its
    header. Blanking again changes nothing."""
    if len(profile) < _HEADER + 4:
        return bytes(len(profile))
    (count,) = struct.unpack_from(">I", profile, _HEADER)
    start = _HEADER + 4 + _ENTRY * count
    blank = bytearray(len(profile))
    blank[:_HEADER] = profile[:_HEADER]
    for low, high in _BLANKED_FIELDS:
        blank[low:high] = bytes(high - low)
    blank[100:_HEADER] = bytes(_HEADER - 100)  # reserved
    if count > _MAX_TAGS or start > len(profile):
        return bytes(blank)
    blank[_HEADER:start] = profile[_HEADER:start]
    for number in range(count):
        name, offset, size = struct.unpack_from(">4sII", profile, _HEADER + 4 + _ENTRY * number)
        if offset < start or offset + size > len(profile):
            continue
        if name in _COLOUR_TAGS:
            blank[offset : offset + size] = profile[offset : offset + size]
        elif size >= 8 and not any(blank[offset : offset + size]):
            blank[offset : offset + 4] = b"text"
    return bytes(blank)
