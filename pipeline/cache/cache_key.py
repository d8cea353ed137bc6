"""Fingerprints: hashes of all that a result was computed from."""

import hashlib
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.cache.library_versions import describe_machine, read_installed, read_versions
from pipeline.cache.module_sources import hash_source
from shardwright.format.canonical_json import encode_canonical

VERSION = 1
"""Another number forgets everything: for when what stands in an entry changes."""


def hash_method(
    purpose: str, functions: Iterable[Callable[..., Any]], settings: Mapping[str, Any], libraries: Iterable[str] = ()
) -> bytes:
    """32 bytes that stand for how something is computed from an item.

    Args:
        purpose: what it is, such as "features of image".
        functions: that compute it; their modules and all of ours that these import are hashed, and the versions of all
            libraries that they import.
        settings: JSON; whatever else decides.
        libraries: further distributions whose version decides.
    """
    modules = sorted({function.__module__ for function in functions})
    about = {
        "version": VERSION,
        "purpose": purpose,
        "source": {module: hash_source(module) for module in modules},
        "libraries": {module: read_versions(module) for module in modules} | {"": read_installed(libraries)},
        "machine": describe_machine(),
        "settings": dict(settings),
    }
    return hashlib.sha256(encode_canonical(about)).digest()


def hash_item(method: bytes, sha256: bytes, media_type: str, orientation: int) -> "hashlib._Hash":
    """A hash of the method and of an item's bytes, type and orientation, to which a span may be added."""
    return hashlib.sha256(method + sha256 + struct.pack("<B", orientation) + media_type.encode())


def hash_span(item: "hashlib._Hash", start: float | None, end: float | None) -> bytes:
    """The fingerprint of what is computed from a span of an item, in seconds; None for its start or its end."""
    if start is None and end is None:
        return item.digest()
    missing = float("nan")
    spanned = item.copy()
    spanned.update(struct.pack("<dd", missing if start is None else start, missing if end is None else end))
    return spanned.digest()
