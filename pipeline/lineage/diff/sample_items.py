"""The items of some samples out of tables of any size, as arrays: 32 bytes an item, and never a row a sample."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.stage_tables import StageTables
from pipeline.tables.contracts import MODALITIES
from pipeline.tables.row_files import pack_hex, read_strings

Hashes = NDArray[np.bytes_]
"""S32; empty where there is none."""

Prints = NDArray[np.uint64]
"""Names as 64 bits of a hash: of a million, two have the same with a chance of 1 to 37 million."""

Places = NDArray[np.int64]


def find_in(known: "NDArray[np.bytes_] | Prints", wanted: "NDArray[np.bytes_] | Prints") -> tuple[Places, Places]:
    """Places in `known` (sorted, none twice) and in `wanted` (in any order) of what is in both."""
    if not len(known) or not len(wanted):
        return np.empty(0, np.int64), np.empty(0, np.int64)
    at = np.minimum(np.searchsorted(known, wanted), len(known) - 1)
    same = known[at] == wanted
    return at[same].astype(np.int64), np.flatnonzero(same)


def print_names(names: Iterable[str]) -> Prints:
    """The prints of names."""
    digests = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in names)
    return np.frombuffer(digests, np.uint64)


def read_parts(ledgers: StageTables, keys: NDArray[np.bytes_]) -> dict[str, Hashes]:
    """By modality the ids of the items of the samples `keys`, which are sorted.

    Raises:
        InputError: the table of samples is missing or damaged.
    """
    parts = {name: np.zeros(len(keys), "S32") for name in MODALITIES}
    for batch in ledgers.read("align", ["key", *MODALITIES]):
        places, rows = find_in(keys, np.array(read_strings(batch, "key"), "S64"))
        for name, ids in parts.items():
            ids[places] = pack_ids(batch.column(name).take(rows).to_pylist())
    return parts


def read_groups(ledgers: StageTables, keys: NDArray[np.bytes_]) -> Prints:
    """The prints of the groups of the samples `keys`, which are sorted; 0 where there is no such sample.

    Raises:
        InputError: the table of samples is missing or damaged.
    """
    groups = np.zeros(len(keys), np.uint64)
    for batch in ledgers.read("align", ["key", "group"]):
        places, rows = find_in(keys, np.array(read_strings(batch, "key"), "S64"))
        groups[places] = print_names(batch.column("group").take(rows).to_pylist())
    return groups


def read_contents(ledgers: StageTables, parts: Mapping[str, Hashes]) -> dict[str, Hashes]:
    """By modality the sha256 of the cleaned bytes of these items, given by their ids; empty where there is none.

    Raises:
        InputError: the cleaned table is missing or damaged.
    """
    ids = join_ids(parts)
    contents = np.zeros(len(ids), "S32")
    for batch in ledgers.read("clean", ["id", "sha256"]):
        places, rows = find_in(ids, pack_hex(batch, "id"))
        contents[places] = pack_hex(batch, "sha256")[rows]
    found = {name: np.zeros(len(own), "S32") for name, own in parts.items()}
    for name, own in parts.items():
        places, rows = find_in(ids, own)
        found[name][rows] = contents[places]
    return found


def pack_ids(ids: Sequence[str | None]) -> Hashes:
    """Ids of 64 hex digits as S32, empty for None."""
    return np.frombuffer(bytes.fromhex("".join(each or "0" * 64 for each in ids)), "S32")


def join_ids(parts: Mapping[str, Hashes]) -> Hashes:
    """All different ids of some samples, sorted, but for the empty one."""
    ids = np.unique(np.concatenate([np.empty(0, "S32"), *parts.values()]))
    there: Hashes = ids[ids != b""]
    return there
