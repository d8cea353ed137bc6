"""Read the training and data mining assertions of C2PA manifests. Pure, without network.

A manifest is a tree of JUMBF boxes (ISO/IEC 19566-5). An assertion is a superbox `jumb` of a description box `jumd`,
which has its label, and a box with its content: CBOR, or JSON in old files. The assertion is found by its label,
wherever the manifest is in the file; no signature is checked, since a refusal needs no proof. The assertions of
ingredients count too: these are part of what is shown.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

from pipeline.consent.embedded.cbor import CborError, decode_cbor
from pipeline.consent.statements import AI_USES, ALL_USES, Statement, Use, tidy_line

_LABEL = re.compile(rb"jumd.{16}[\x00-\x1f]((?:c2pa|cawg)\.training-mining(?:\.v\d+)?(?:__\d+)?)\0", re.DOTALL)
"""A description box from its name on: 16 bytes of type, toggles, label. C2PA 1.4, section 11.1.4."""

MAX_ASSERTION = 1 << 20
"""Bytes of an assertion that are read; they have some hundred."""

_TRAINING: frozenset[Use] = frozenset({"ai-train"})
_ENTRIES: dict[str, frozenset[Use]] = {
    "ai_generative_training": _TRAINING,
    "ai_training": _TRAINING,
    "ai_inference": frozenset({"ai-input"}),
    "data_mining": AI_USES,
}
"""The uses that each entry speaks of, without `c2pa.` or `cawg.`."""

_REFUSED = ("notallowed", "constrained")
"""What an entry's `use` may be, if it is not `allowed`; constraints are for people to read."""


def read_c2pa(data: bytes) -> Iterator[Statement]:
    """Yield what the assertions in some bytes refuse. One that cannot be read refuses all."""
    for found in _LABEL.finditer(data) if b".training-mining" in data else ():
        label = found[1].decode()
        try:
            entries = _read_entries(data, found.start() - 4)
        except (CborError, ValueError, RecursionError):
            yield _state(label, "cannot be read", ALL_USES)
            continue
        for name, entry in entries.items():
            use = str(entry.get("use", "") if isinstance(entry, dict) else entry)
            if use.lower() in _REFUSED:
                uses = _ENTRIES.get(str(name).rpartition(".")[2], frozenset())
                yield _state(label, f"{name} {use}", uses)


def _read_entries(data: bytes, start: int) -> dict[str, Any]:
    """Return the entries of the assertion whose description box begins at `start`.

    Raises:
        ValueError, CborError: it is damaged.
    """
    at = start + _read_size(data, start)
    size, kind = _read_size(data, at), data[at + 4 : at + 8]
    content = data[at + 8 : at + size]
    decoded = json.loads(content) if kind == b"json" else decode_cbor(content)
    entries = decoded.get("entries", decoded.get("metadata")) if isinstance(decoded, dict) else None
    if kind not in (b"json", b"cbor") or not isinstance(entries, dict):
        raise ValueError("no entries")
    return entries


def _read_size(data: bytes, at: int) -> int:
    size = int.from_bytes(data[at : at + 4], "big") if at >= 0 else 0
    if not 8 <= size <= MAX_ASSERTION or at + size > len(data):
        raise ValueError("a box of an impossible size")
    return size


def _state(label: str, says: str, uses: frozenset[Use]) -> Statement:
    line = tidy_line(f"{label}: {says}")
    return Statement("c2pa-training-mining", uses, f"C2PA: {line}", line, f"C2PA assertion {label}")
