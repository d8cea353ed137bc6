"""Read the orientation of an image from EXIF data.

EXIF is a TIFF file inside another file. Layout and tags: CIPA DC-008 (Exif 2.32), section 4.6.2 and 4.6.4.
"""

import struct

UPRIGHT = 1
_ORIENTATION_TAG = 0x0112
_ENTRY_SIZE = 12
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_INTEGER_TYPES = {3: "H", 4: "I"}  # SHORT as the standard says; some writers use LONG


def read_orientation(tiff: bytes) -> int:
    """Return the orientation, 1 to 8, of the first image that the TIFF bytes `tiff` describe.

    It is 1 where they have none, or are damaged. It says where the image's row 0 and column 0 belong: 1 top left,
    3 bottom right, 6 right top, 8 left bottom; 2, 4, 5 and 7 are those mirrored.
    """
    order = _BYTE_ORDERS.get(tiff[:4])
    if order is None or len(tiff) < 8:
        return UPRIGHT
    (directory,) = struct.unpack_from(order + "I", tiff, 4)
    if directory + 2 > len(tiff):
        return UPRIGHT
    (count,) = struct.unpack_from(order + "H", tiff, directory)
    end = min(directory + 2 + count * _ENTRY_SIZE, len(tiff) - _ENTRY_SIZE + 1)
    for at in range(directory + 2, end, _ENTRY_SIZE):
        tag, kind = struct.unpack_from(order + "HH", tiff, at)
        if tag == _ORIENTATION_TAG and kind in _INTEGER_TYPES:
            (value,) = struct.unpack_from(order + _INTEGER_TYPES[kind], tiff, at + 8)
            return value if 1 <= value <= 8 else UPRIGHT
    return UPRIGHT
