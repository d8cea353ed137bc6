"""Encode the check of one item as a cache entry: a record of what was found, and the item's bytes if they changed.

This module knows no single modality: an edit in one must not change the cache keys of another.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.params import Params
from pipeline.incremental.pack_index import Entry
from pipeline.incremental.rejections import encode_rejection
from pipeline.modalities.modality import Modality
from pipeline.privacy.kinds import KINDS
from pipeline.tables.contracts import CHECKED_COLUMNS
from pipeline.tables.drops import Rejection

VERDICT = np.dtype(
    [
        ("rewritten", "?"),
        ("sha256", "u1", (32,)),
        ("size", "<i8"),
        ("redactions", "<u4", (len(KINDS),)),
        ("flaw", "S40"),
        ("bits", "<u8"),
        ("facts", "<i8", (len(CHECKED_COLUMNS),)),
    ]
)
"""The record of an item that is kept: whether its bytes changed; sha256 and size of the cleaned bytes; how many
passages were redacted of each of the `KINDS`; what is odd in it; the bits of its perceptual hash; the
`CHECKED_COLUMNS`, -1 where its modality has no such column. The thumbnail of the perceptual hash follows: uint8 (256,),
or nothing."""

_VERDICT = struct.Struct(f"<?32sq{len(KINDS)}I40sQ{len(CHECKED_COLUMNS)}q")  # 40 times as fast as a NumPy record


@dataclass(frozen=True, slots=True)
class CheckedBytes:
    """An item's bytes as they came in, with their sha256."""

    data: bytes
    sha256: str
    media_type: str


def compute_check(modality: Modality[Any, Any], raw: CheckedBytes, params: Params, key: bytes) -> Entry:
    """Check an item; its cleaned bytes are the only piece of the entry, if they changed."""
    checked = modality.check(raw.data, raw.media_type, params)
    if isinstance(checked, Rejection):
        return encode_rejection(key, checked)
    rewritten = checked.data != raw.data
    verdict = _VERDICT.pack(
        rewritten,
        hashlib.sha256(checked.data).digest() if rewritten else bytes.fromhex(raw.sha256),
        len(checked.data),
        *(checked.redactions.get(kind, 0) for kind in KINDS),
        checked.flaw.encode("ascii"),
        checked.perceptual_hash.bits,
        *(checked.facts.get(name, -1) for name in CHECKED_COLUMNS),
    )
    return Entry(key, [checked.data] if rewritten else [], record=verdict + checked.perceptual_hash.thumbnail)
