"""Encode the features of one item as a cache entry: a piece for each field, with the bytes of its member in the shard,
and a record with what they add to the statistics.

For a modality that learns from the whole training split, the entry holds the parsed item, and its text for the meta.
This module knows no single modality: an edit in one must not change the cache keys of another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config.params import Params
from pipeline.extract.field_statistics import encode_moments, has_moments, measure
from pipeline.incremental.pack_index import DamagedError, Entry
from pipeline.incremental.rejections import encode_rejection
from pipeline.modalities.modality import MediaItem, Modality, Value
from pipeline.tables.drops import Reason, Rejection
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.field import Field
from shardwright.format.jpeg import decode_jpeg

Array = NDArray[Any]
Fields = Mapping[str, Field]

MAX_CAPTION = 1000
"""Characters of a text in the meta: every meta of a shard is padded to the longest, so one book would make all samples
large. The median caption of stamps has 34 characters, the longest 197."""


def compute_entry(modality: Modality[Any, Any], item: MediaItem, params: Params, fields: Fields, key: bytes) -> Entry:
    """Compute an item's entry: its arrays for `fields`, the parsed item, or the rejection."""
    if modality.learning is not None:
        parsed = modality.learning.parse(item, params)
        if isinstance(parsed, Rejection):
            return encode_rejection(key, parsed)
        return Entry(key, [encode_canonical(parsed), shorten_text(item.data)])
    checked = check_arrays(modality.extract(item, params, None), fields)
    if isinstance(checked, Rejection):
        return encode_rejection(key, checked)
    return Entry(key, encode_arrays(checked, fields), record=measure_arrays(checked, fields))


def shorten_text(text: bytes) -> bytes:
    """Return a text of at most `MAX_CAPTION` characters, the last an ellipsis where it was longer."""
    whole = text.decode(errors="replace")
    return (whole if len(whole) <= MAX_CAPTION else whole[: MAX_CAPTION - 1] + "…").encode()


def encode_arrays(arrays: Mapping[str, Value], fields: Fields) -> list[bytes]:
    """Return the contents of the members of checked values, in the order of the fields."""
    return [field.encode(arrays[name]) for name, field in fields.items()]


def measure_arrays(arrays: Mapping[str, Value], fields: Fields) -> bytes:
    """Return the moments of the fields that have statistics; of ragged ones without the padding."""
    record = []
    for name, field in fields.items():
        if not has_moments(field):
            continue
        value = arrays[name]
        array = decode_jpeg(np.frombuffer(value, np.uint8), field.shape) if isinstance(value, bytes) else value
        length = arrays.get(f"{name}_length")
        record.append(encode_moments(measure(array if length is None else array[: int(np.asarray(length))])))
    return b"".join(record)


def decode_parsed(pieces: Sequence[bytes]) -> Any:
    """Return the parsed item.

    Raises:
        DamagedError: it is not JSON.
    """
    try:
        return decode_json(pieces[0])
    except FormatError as error:
        raise DamagedError from error


def check_arrays(arrays: Mapping[str, Value] | Rejection, fields: Fields) -> Mapping[str, Value] | Rejection:
    """Return the values if they match their fields and their floats are finite; else the rejection for the first."""
    if isinstance(arrays, Rejection):
        return arrays
    if arrays.keys() != fields.keys():
        return Rejection(Reason.BROKEN, "the extractor gave other fields", ", ".join(arrays), ", ".join(fields))
    for name, field in fields.items():
        if rejection := _check_value(name, arrays[name], field):
            return rejection
    return arrays


def _check_value(name: str, value: Value, field: Field) -> Rejection | None:
    if field.varies or isinstance(value, bytes):
        try:
            field.encode(value)
        except FormatError as error:
            return Rejection(Reason.BROKEN, f"the extractor gave no {field.encoding} of {name}", str(error))
        return None
    if value.dtype != np.dtype(field.dtype) or value.shape != field.shape:
        found, planned = f"{value.dtype} {value.shape}", f"{field.dtype} {field.shape}"
        return Rejection(Reason.BROKEN, f"the extractor gave another dtype or shape of {name}", found, planned)
    if field.dtype.startswith("float") and not np.isfinite(value).all():
        return Rejection(Reason.NONFINITE, f"{name} has values that are NaN or infinite")
    return None
