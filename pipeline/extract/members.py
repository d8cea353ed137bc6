"""The contents of members, made where there is no item, and decoded again.

Apart from `pipeline.cache.features`, on which the fingerprints of all features stand: those of texts must not depend on
OpenCV.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.features import Fields
from pipeline.cache.rows import DamagedError
from shardwright.field import Field
from shardwright.jpeg import decode_jpeg, encode_jpeg

Array = NDArray[Any]


def encode_nothing(fields: Fields) -> list[bytes]:
    """The contents of the members of a sample that lacks the item: padding or zeros; of JPEG files, a black picture."""
    # At quality 100 nothing is rounded: it decodes to zeros.
    return [
        encode_jpeg(np.zeros(field.shape, np.uint8), 100)
        if field.varies
        else field.encode(np.full(field.shape, field.padding or 0, field.dtype))
        for field in fields.values()
    ]


def decode_array(content: bytes, field: Field) -> Array:
    """The array in the content of its member, or the pixels of its JPEG file, read-only.

    Raises:
        DamagedError: it is no such content.
    """
    if field.varies:
        try:
            return decode_jpeg(np.frombuffer(content, np.uint8), field.shape)
        except ValueError as error:
            raise DamagedError from error
    if len(content) != len(field.header) + field.nbytes or not content.startswith(field.header):
        raise DamagedError
    array: Array = np.frombuffer(content, field.storage, offset=len(field.header)).reshape(field.shape)
    return array
