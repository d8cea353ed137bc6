"""Build the members of a sample that are not features: the meta, and arrays for absent modalities."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.feature_entries import Fields
from pipeline.incremental.pack_index import DamagedError
from pipeline.extract.aligned_samples import AlignedSample
from shardwright.format.field import Field
from shardwright.format.jpeg import decode_jpeg, encode_jpeg

Array = NDArray[Any]


def encode_absent(fields: Fields) -> list[bytes]:
    """Return member contents for an absent modality: padding or zeros; for JPEG fields, a black image."""
    # At quality 100 nothing is rounded, so it decodes to zeros.
    return [
        encode_jpeg(np.zeros(field.shape, np.uint8), 100)
        if field.varies
        else field.encode(np.full(field.shape, field.padding or 0, field.dtype))
        for field in fields.values()
    ]


def decode_array(content: bytes, field: Field) -> Array:
    """Return the read-only array of a member's content, or the pixels of its JPEG file.

    Raises:
        DamagedError: the content is not that of the field.
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
"""Characters of a caption in the meta: every meta of a shard is padded to the longest, so one book would make all
samples large. The median caption of stamps has 34 characters, the longest 197."""


def build_meta(sample: AlignedSample, caption: str | None) -> dict[str, Any]:
    """Build the meta of a sample: `key`, `split`, `group`, `label` (its name), `caption`, and `items` by modality.

    An item has the known ones of `id`, `source`, `file`, `part`, `url`, `language`, `licence`, `attribution`, and
    `start` and `end` in seconds if the sample uses a span of it. Unknown values are left out.
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
