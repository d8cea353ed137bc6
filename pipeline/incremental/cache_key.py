"""Compute cache keys: hashes of everything that a result was computed from."""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipeline.config.plugins import find_module, find_plugins
from pipeline.incremental.library_versions import describe_environment
from pipeline.incremental.module_sources import hash_source
from shardwright.format.canonical_json import encode_canonical

VERSION = 2
"""Increase it when the content of an entry changes: all entries are then computed again."""


def hash_method(
    purpose: str, functions: Iterable[Callable[..., Any]], settings: Mapping[str, Any], libraries: Iterable[str] = ()
) -> bytes:
    """Return 32 bytes that identify how something is computed from an item.

    The cache key of an item is, in SQL, `unhex(sha256(method || sha256 of its bytes || what else decides))`.

    Args:
        purpose: what is computed, such as "features of image".
        functions: what computes it: the source of their modules and of all project modules that these import is hashed,
            and their environment, see `describe_environment`.
        settings: everything else that decides, as JSON. The source and environment of plugins that it names are hashed,
            too.
        libraries: further distributions whose version decides.
    """
    modules = sorted({function.__module__ for function in functions} | set(map(find_module, find_plugins(settings))))
    recipe = {
        "version": VERSION,
        "purpose": purpose,
        "source": {module: hash_source(module) for module in modules},
        "environment": describe_environment(modules, libraries),
        "settings": dict(settings),
    }
    return hashlib.sha256(encode_canonical(recipe)).digest()
