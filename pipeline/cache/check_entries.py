"""Encode the check of one item as cache entries: the verdict, and the item's bytes if the check changed them.

The changed bytes are an entry of their own, since they end up in another file than the verdict. This module knows no
single modality: an edit in one must not change the cache keys of another.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.cache.pack_index import DamagedError, Entry
from pipeline.cache.verdicts import decode_rejection, encode_rejection
from pipeline.config.params import Params
from pipeline.modalities.modality import Modality, PerceptualHash
from pipeline.tables.drops import Rejection
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json, encode_canonical


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What the check found of an item that is kept.

    Attributes:
        sha256: of the cleaned bytes.
        size: of the cleaned bytes.
        rewritten: whether they differ from those that came in.
        facts: columns of the cleaned table.
        perceptual_hash: for near-duplicates.
        redactions: how many passages were redacted.
    """

    sha256: bytes
    size: int
    rewritten: bool
    facts: Mapping[str, int]
    perceptual_hash: PerceptualHash
    redactions: int


@dataclass(frozen=True, slots=True)
class CheckedBytes:
    """An item's bytes as they came in, with their sha256."""

    data: bytes
    sha256: str
    media_type: str


def compute_check(modality: Modality[Any, Any], raw: CheckedBytes, params: Params, key: bytes) -> list[Entry]:
    """Check an item; return the entry of the verdict, and that of the cleaned bytes if they changed."""
    checked = modality.check(raw.data, raw.media_type, params)
    if isinstance(checked, Rejection):
        return [encode_rejection(key, checked)]
    rewritten = checked.data != raw.data
    found = {
        "sha256": hashlib.sha256(checked.data).hexdigest() if rewritten else raw.sha256,
        "size": len(checked.data),
        "rewritten": rewritten,
        "facts": dict(checked.facts),
        "bits": checked.perceptual_hash.bits,
        "redactions": checked.redactions,
    }
    verdict = Entry(key, [encode_canonical(found), checked.perceptual_hash.thumbnail])
    return [verdict, Entry(hash_data(key), [checked.data])] if rewritten else [verdict]


def hash_data(key: bytes) -> bytes:
    """Return the cache key of the cleaned bytes, from that of the check."""
    return hashlib.sha256(b"cleaned bytes" + key).digest()


def decode_check(entry: Entry) -> CheckResult | Rejection:
    """Return the verdict that an entry holds.

    Raises:
        DamagedError: it holds none that this version can read.
    """
    if entry.rejected:
        return decode_rejection(entry)
    try:
        known, thumbnail = entry.pieces
        found = decode_json(known)
        return CheckResult(
            bytes.fromhex(found["sha256"]),
            found["size"],
            found["rewritten"],
            found["facts"],
            PerceptualHash(found["bits"], thumbnail),
            found["redactions"],
        )
    except (FormatError, KeyError, TypeError, ValueError) as error:
        raise DamagedError from error
