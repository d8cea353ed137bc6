"""The check of one item as cache entries: what was found of it, and its bytes where the check changed them.

The changed bytes are an entry of their own, since they end in another file than what is known of them. This module
knows no single modality: an edit in one must not touch the fingerprints of another.
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
    """What is known of an item that is fit for use: of its cleaned bytes the sha256, the size, and whether they differ
    from those that came in; the columns of the cleaned table that it fills; its fingerprint; the passages redacted."""

    sha256: bytes
    size: int
    rewritten: bool
    facts: Mapping[str, int]
    look: PerceptualHash
    redactions: int


@dataclass(frozen=True, slots=True)
class CheckedBytes:
    """An item's bytes as they came in, with their sha256."""

    data: bytes
    sha256: str
    media_type: str


def compute_check(modality: Modality[Any, Any], raw: CheckedBytes, params: Params, fingerprint: bytes) -> list[Entry]:
    """Check an item: the entry of the verdict, and, where they changed, that of the cleaned bytes."""
    checked = modality.check(raw.data, raw.media_type, params)
    if isinstance(checked, Rejection):
        return [encode_rejection(fingerprint, checked)]
    rewritten = checked.data != raw.data
    found = {
        "sha256": hashlib.sha256(checked.data).hexdigest() if rewritten else raw.sha256,
        "size": len(checked.data),
        "rewritten": rewritten,
        "facts": dict(checked.facts),
        "bits": checked.perceptual_hash.bits,
        "redactions": checked.redactions,
    }
    verdict = Entry(fingerprint, [encode_canonical(found), checked.perceptual_hash.thumbnail])
    return [verdict, Entry(hash_data(fingerprint), [checked.data])] if rewritten else [verdict]


def hash_data(fingerprint: bytes) -> bytes:
    """The fingerprint of the cleaned bytes, from that of the check."""
    return hashlib.sha256(b"cleaned bytes" + fingerprint).digest()


def decode_check(entry: Entry) -> CheckResult | Rejection:
    """The verdict of an entry.

    Raises:
        DamagedError: it holds none that this version knows.
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
