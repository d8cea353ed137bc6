"""Compute cache keys: hashes of everything that a result was computed from."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.config.plugins import find_module, find_plugins
from pipeline.incremental.key_words import KeyWords, view_words
from pipeline.incremental.library_versions import describe_environment
from pipeline.incremental.module_sources import hash_source
from pipeline.tables.columns import number_distinct, read_hashes
from shardwright.format.canonical_json import encode_canonical

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 3
"""Increase it when the content of an entry changes: all entries are then computed again."""


def hash_method(
    purpose: str, functions: Iterable[Callable[..., Any]], settings: Mapping[str, Any], libraries: Iterable[str] = ()
) -> bytes:
    """Return 32 bytes that identify how something is computed from an item: one half of its cache key, see
    `make_keys`.

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


def make_keys(batch: "pa.RecordBatch", find_method: Callable[[str], bytes | None], decisive: Sequence[str]) -> KeyWords:
    """Return the cache keys of items: the sha256 of their bytes, xor a sha256 of the method and what else decides.

    As safe from collisions as sha256 itself: keys are equal if the hashes of some bytes differ by one of few numbers.
    To hash both halves together takes 1 µs an item.

    Args:
        batch: of items, with the columns `sha256`, `modality` and `decisive`. Where `sha256` is null, or the modality
            has no method, the key is 0.
        find_method: returns the hash of how items of a modality are computed, see `hash_method`; None if they are not.
        decisive: columns with few distinct values.
    """
    hashes = view_words(read_hashes(batch, "sha256"))
    known = batch.column("sha256").is_valid().to_numpy(zero_copy_only=False)
    found, which = number_distinct(batch, ["modality", *decisive])
    halves = np.zeros((len(found), hashes.shape[1]), np.uint64)
    for number, (modality, *values) in enumerate(found):
        method = find_method(modality)
        if method is not None:
            about = "/".join(map(str, values)).encode()
            halves[number] = view_words(np.frombuffer(hashlib.sha256(method + about).digest(), np.uint8))
    keys: KeyWords = hashes ^ halves[which]
    keys[~known | ~np.any(halves, axis=1)[which]] = 0
    return keys
