"""Read the items of samples from tables of any size into arrays: 32 bytes an item, instead of a dict for each row."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.stage_tables import StageTables
from pipeline.tables.contracts import MODALITIES
from pipeline.tables.row_files import pack_hex, read_strings

Digests = NDArray[np.bytes_]
"""Ids, or sha256 of contents: S32; empty where there is none."""

NameHashes = NDArray[np.uint64]
"""Names as 64 bits of a hash: of a million names, two collide with a probability of 1 to 37 million."""

Indexes = NDArray[np.int64]


def find_known(
    known: "NDArray[np.bytes_] | NameHashes", requested: "NDArray[np.bytes_] | NameHashes"
) -> tuple[Indexes, Indexes]:
    """Return the indexes in `known` (sorted, distinct) and in `requested` (in any order) of what is in both."""
    if not len(known) or not len(requested):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(known, requested), len(known) - 1)
    same = known[at] == requested
    return at[same].astype(np.int64), np.flatnonzero(same)


def hash_names(names: Iterable[str]) -> NameHashes:
    """Return the hashes of names."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, np.uint64)


def read_parts(tables: StageTables, keys: NDArray[np.bytes_]) -> dict[str, Digests]:
    """Return by modality the ids of the items of the samples `keys`, which are sorted.

    Raises:
        InputError: the table of samples is missing or damaged.
    """
    parts = {name: np.zeros(len(keys), "S32") for name in MODALITIES}
    for batch in tables.read("align", ["key", *MODALITIES]):
        indexes, rows = find_known(keys, np.array(read_strings(batch, "key"), "S64"))
        for name, ids in parts.items():
            ids[indexes] = pack_ids(batch.column(name).take(rows).to_pylist())
    return parts


def read_groups(tables: StageTables, keys: NDArray[np.bytes_]) -> NameHashes:
    """Return the hashes of the groups of the samples `keys`, which are sorted; 0 where there is no such sample.

    Raises:
        InputError: the table of samples is missing or damaged.
    """
    groups = np.zeros(len(keys), np.uint64)
    for batch in tables.read("align", ["key", "group"]):
        indexes, rows = find_known(keys, np.array(read_strings(batch, "key"), "S64"))
        groups[indexes] = hash_names(batch.column("group").take(rows).to_pylist())
    return groups


def read_contents(tables: StageTables, parts: Mapping[str, Digests]) -> dict[str, Digests]:
    """Return by modality the sha256 of the cleaned bytes of these items, given by their ids; empty where there is none.

    Raises:
        InputError: the cleaned table is missing or damaged.
    """
    ids = join_ids(parts)
    contents = np.zeros(len(ids), "S32")
    for batch in tables.read("clean", ["id", "sha256"]):
        indexes, rows = find_known(ids, pack_hex(batch, "id"))
        contents[indexes] = pack_hex(batch, "sha256")[rows]
    found = {name: np.zeros(len(part), "S32") for name, part in parts.items()}
    for name, part in parts.items():
        indexes, rows = find_known(ids, part)
        found[name][rows] = contents[indexes]
    return found


def pack_ids(ids: Sequence[str | None]) -> Digests:
    """Return ids of 64 hex digits as S32, empty for None."""
    return np.frombuffer(bytes.fromhex("".join(each or "0" * 64 for each in ids)), "S32")


def join_ids(parts: Mapping[str, Digests]) -> Digests:
    """Return the distinct ids of some samples, sorted, without the empty one."""
    ids = np.unique(np.concatenate([np.empty(0, "S32"), *parts.values()]))
    present: Digests = ids[ids != b""]
    return present
