"""Compute cache keys: hashes of everything that a result was computed from."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.cache.library_versions import describe_environment
from pipeline.cache.module_sources import hash_source
from shardwright.format.canonical_json import encode_canonical

VERSION = 1
"""Increase it when the content of an entry changes: all entries are then computed again."""


def hash_method(
    purpose: str, functions: Iterable[Callable[..., Any]], settings: Mapping[str, Any], libraries: Iterable[str] = ()
) -> bytes:
    """Return 32 bytes that identify how something is computed from an item.

    Args:
        purpose: what is computed, such as "features of image".
        functions: what computes it: the source of their modules and of all project modules that these import is hashed,
            and their environment, see `describe_environment`.
        settings: everything else that decides, as JSON.
        libraries: further distributions whose version decides.
    """
    modules = sorted({function.__module__ for function in functions})
    recipe = {
        "version": VERSION,
        "purpose": purpose,
        "source": {module: hash_source(module) for module in modules},
        "environment": describe_environment(modules, libraries),
        "settings": dict(settings),
    }
    return hashlib.sha256(encode_canonical(recipe)).digest()


def hash_item(method: bytes, sha256: bytes, media_type: str, orientation: int) -> "hashlib._Hash":
    """Return the hash of a method and of an item's bytes, type and EXIF orientation; a span may be added to it."""
    return hashlib.sha256(method + sha256 + struct.pack("<B", orientation) + media_type.encode())


def hash_span(item: "hashlib._Hash", start: float | None, end: float | None) -> bytes:
    """Return the cache key of what is computed from a span of an item, in seconds; None for its start or its end."""
    if start is None and end is None:
        return item.digest()
    missing = float("nan")
    spanned = item.copy()
    spanned.update(struct.pack("<dd", missing if start is None else start, missing if end is None else end))
    return spanned.digest()
