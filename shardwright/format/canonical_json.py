"""Encode JSON values to one canonical text, so that hashes and stored files do not depend on the writer."""

import hashlib
import json
import math
from typing import Any

from shardwright.errors import FormatError


def encode_canonical(value: object, indent: int | None = None) -> bytes:
    """Encode a value as UTF-8 JSON with sorted keys; without `indent`, on one line and without spaces.

    Raises:
        FormatError: the value is not JSON: an unknown type, NaN or an infinity, a lone surrogate, a cycle.
    """
    separators = (",", ":") if indent is None else None
    try:
        text = json.dumps(
            value, sort_keys=True, ensure_ascii=False, allow_nan=False, indent=indent, separators=separators
        )
        return text.encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise FormatError(f"not a JSON value: {error}") from error


def decode_json(data: bytes) -> Any:
    """Decode UTF-8 JSON, without the NaN and infinities that Python's parser accepts.

    Raises:
        FormatError: the bytes are not UTF-8, not JSON, nested too deeply, or a number is too large to be finite.
    """
    try:
        return json.loads(data.decode(), parse_constant=_refuse_constant, parse_float=_read_float)
    except (ValueError, RecursionError) as error:
        raise FormatError(f"not readable as JSON: {error}") from error


def hash_canonical(value: object) -> str:
    """Return the sha256, 64 hex digits, of the value's canonical JSON on one line."""
    return hashlib.sha256(encode_canonical(value)).hexdigest()


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def _read_float(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise ValueError(f"{digits:.80} is too large a number")
    return value
