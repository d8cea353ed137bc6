"""What stands beside a sample's arrays, as JSON: which things it is made of, where they came from, what they say."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.feature_entries import Fields
from pipeline.cache.pack_index import DamagedError
from pipeline.extract.aligned_samples import AlignedSample
from shardwright.format.field import Field
from shardwright.format.jpeg import decode_jpeg, encode_jpeg

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


MAX_CAPTION = 1000
"""Characters of a text that the meta keeps: every meta of a shard is padded to the longest, so one book would be
paid for by all. The median caption of stamps has 34 characters, its longest 197."""


def describe_sample(sample: AlignedSample, caption: str | None) -> dict[str, Any]:
    """The meta of a sample: `key`, `split`, `group`, `label` by name, `caption`, and `items` by modality.

    An item has what is known of `id`, `source`, `file`, `part`, `url`, `language`, `licence`, `attribution`, and
    `start` and `end` in seconds where the sample is only a part of it. What is unknown is left out.
    """
    meta: dict[str, Any] = {"key": sample.key, "split": sample.split, "group": sample.group}
    if sample.label is not None:
        meta["label"] = sample.label
    if caption is not None:
        meta["caption"] = caption if len(caption) <= MAX_CAPTION else caption[: MAX_CAPTION - 1] + "…"
    meta["items"] = {
        modality: {**part.origin, **{k: v for k, v in (("start", part.start), ("end", part.end)) if v is not None}}
        for modality, part in sample.parts.items()
    }
    return meta
