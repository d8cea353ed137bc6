"""Encode the features of one item as a cache entry: a piece for each field, with the bytes of its member in the shard.

For a modality that learns from the whole training split, the entry holds the parsed item, in one piece. This module
knows no single modality: an edit in one must not change the cache keys of another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.pack_index import DamagedError, Entry
from pipeline.incremental.verdicts import encode_rejection
from pipeline.config.params import Params
from pipeline.modalities.modality import MediaItem, Modality, Value
from pipeline.tables.drops import Reason, Rejection
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.field import Field

Array = NDArray[Any]
Fields = Mapping[str, Field]


def compute_entry(modality: Modality[Any, Any], item: MediaItem, params: Params, fields: Fields, key: bytes) -> Entry:
    """Compute an item's entry: its arrays for `fields`, the parsed item, or the rejection."""
    if modality.learning is not None:
        parsed = modality.learning.parse(item, params)
        if isinstance(parsed, Rejection):
            return encode_rejection(key, parsed)
        return Entry(key, [encode_canonical(parsed)])
    checked = check_arrays(modality.extract(item, params, None), fields)
    if isinstance(checked, Rejection):
        return encode_rejection(key, checked)
    return Entry(key, encode_arrays(checked, fields))


def encode_arrays(arrays: Mapping[str, Value], fields: Fields) -> list[bytes]:
    """Return the contents of the members of checked values, in the order of the fields."""
    return [field.encode(arrays[name]) for name, field in fields.items()]


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
