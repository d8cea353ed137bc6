"""The features of one item as the bytes of a cache entry: a piece a field, as its member in the shard has it.

Of a modality that learns from the whole training split, the entry holds what its items were parsed to, in one piece.
This module knows no single modality: an edit in one must not touch the fingerprints of another.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.pack_index import DamagedError, Entry
from pipeline.cache.verdicts import encode_rejection
from pipeline.config.params import Params
from pipeline.modalities.modality import MediaItem, Modality, Value
from pipeline.tables.drops import Reason, Rejection
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical
from shardwright.format.field import Field

Array = NDArray[Any]
Fields = Mapping[str, Field]


def compute_entry(
    modality: Modality[Any, Any], item: MediaItem, params: Params, fields: Fields, fingerprint: bytes
) -> Entry:
    """Compute what is kept of an item: its arrays for `fields`, what it was parsed to, or why there is nothing."""
    if modality.learning is not None:
        parsed = modality.learning.parse(item, params)
        if isinstance(parsed, Rejection):
            return encode_rejection(fingerprint, parsed)
        return Entry(fingerprint, [encode_canonical(parsed)])
    checked = check_arrays(modality.extract(item, params, None), fields)
    if isinstance(checked, Rejection):
        return encode_rejection(fingerprint, checked)
    return Entry(fingerprint, encode_arrays(checked, fields))


def encode_arrays(arrays: Mapping[str, Value], fields: Fields) -> list[bytes]:
    """The contents of the members of checked values, in the order of the fields."""
    return [field.encode(arrays[name]) for name, field in fields.items()]


def decode_parsed(pieces: Sequence[bytes]) -> Any:
    """What an item was parsed to.

    Raises:
        DamagedError: it is not JSON.
    """
    try:
        return decode_json(pieces[0])
    except FormatError as error:
        raise DamagedError from error


def check_arrays(arrays: Mapping[str, Value] | Rejection, fields: Fields) -> Mapping[str, Value] | Rejection:
    """The values, if they are what their fields say and their floats are finite; else what is wrong with the first."""
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
        found, wanted = f"{value.dtype} {value.shape}", f"{field.dtype} {field.shape}"
        return Rejection(Reason.BROKEN, f"the extractor gave another dtype or shape of {name}", found, wanted)
    if field.dtype.startswith("float") and not np.isfinite(value).all():
        return Rejection(Reason.NONFINITE, f"{name} has values that are NaN or infinite")
    return None
