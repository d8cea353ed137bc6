"""Find why one dataset lacks samples that the other has, from what became of their items in its stage tables.

Of the items of a sample, the one that was lost first is the cause: if its image was dropped, its audio lacks a partner.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.diff.item_arrays import (
    Indexes,
    NameHashes,
    find_known,
    hash_names,
    join_ids,
    pack_ids,
    read_parts,
)
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.explain import explain_limit
from pipeline.tables.contracts import MODALITIES
from pipeline.tables.drops import Reason
from pipeline.tables.item_names import name_file, name_item
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import pack_hex, read_strings
from shardwright.format.index import decode_key

STAGES = ("input", "crawl", "ingest", "clean", "align")
"""In the order in which an item passes them; the input comes before all stages."""

UNKNOWN, IN_ANOTHER_SAMPLE, NOT_IN_INPUT = "unknown", "in_another_sample", "not_in_input"

DROP_COLUMNS = ("key", "unit", "reason", "limit", "setting")


@dataclass(frozen=True)
class LossCause:
    """The stage that lost an item, and why.

    Attributes:
        reason: of the dropped row, or one of `UNKNOWN`, `IN_ANOTHER_SAMPLE`, `NOT_IN_INPUT`.
        modality: of the item; None where the sample itself was dropped.
        setting: the key of `params.yaml` that decided, empty where none did.
        limit: the value of the setting in that run.
    """

    stage: str
    reason: str
    modality: str | None = None
    setting: str = ""
    limit: str = ""

    @property
    def rank(self) -> int:
        """Return a smaller number for an earlier loss; what follows from the loss of another item comes last."""
        later = {Reason.MISSING_PARTNER: 1, IN_ANOTHER_SAMPLE: 2, UNKNOWN: 3}
        return len(STAGES) + later[self.reason] if self.reason in later else ORDER[self.stage]

    def __str__(self) -> str:
        lost = f"its {self.modality}" if self.modality else "the sample"
        if self.reason == NOT_IN_INPUT:
            return f"{lost} is not in the input"
        if self.reason == IN_ANOTHER_SAMPLE:
            return f"{lost} is in another sample"
        if self.reason == UNKNOWN:
            return "the stage tables give no cause"
        return f"{lost} was dropped in {self.stage}: {self.reason}{explain_limit(self.setting, self.limit)}"


ORDER = {stage: rank for rank, stage in enumerate((*STAGES, "extract"))}
NO_CAUSE = LossCause("align", UNKNOWN)


def find_causes(keys: NDArray[np.bytes_], having: StageTables, lacking: StageTables) -> "Causes":
    """Return why `lacking` does not have the samples `keys`, sorted, which `having` has.

    Raises:
        InputError: a table is missing or damaged.
    """
    causes = Causes(len(keys))
    causes.add_drops(lacking, "extract", hash_names(decode_key(key) for key in keys.tolist()))
    parts = read_parts(having, keys)
    items = _read_items(having, join_ids(parts))
    item_causes = _find_item_causes(items, lacking)
    for ids in parts.values():
        found, rows = find_known(items.ids, ids)
        for number in np.unique(item_causes.numbers[found]).tolist():
            causes.add(rows[item_causes.numbers[found] == number], item_causes.known[number])
    return causes


class Causes:
    """The earliest cause, by rank, for each of `count` samples or items.

    Attributes:
        known: all causes.
        numbers: for each sample or item the index of its cause in `known`.
    """

    def __init__(self, count: int) -> None:
        self.known = [NO_CAUSE]
        self.numbers = np.zeros(count, np.int32)
        self._ranks = np.array([NO_CAUSE.rank], np.int32)
        self._indexes = {NO_CAUSE: 0}

    def add(self, indexes: Indexes, cause: LossCause) -> None:
        """Set the cause at these indexes, where it ranks before the present one."""
        if cause not in self._indexes:
            self._indexes[cause] = len(self.known)
            self.known.append(cause)
            self._ranks = np.append(self._ranks, np.int32(cause.rank))
        later = self._ranks[self.numbers[indexes]] > cause.rank
        self.numbers[indexes[later]] = self._indexes[cause]

    def add_drops(
        self, tables: StageTables, stage: str, hashes: NameHashes, modalities: NDArray[np.int8] | None = None
    ) -> None:
        """Add the causes in a stage's dropped table for samples, or, with `modalities`, for items, by their names."""
        order = np.argsort(hashes, kind="stable")
        ordered = hashes[order]
        found: dict[LossCause, list[int]] = defaultdict(list)
        for name_hash, row in _read_drops(tables, stage, np.unique(hashes)):
            start, end = np.searchsorted(ordered, name_hash), np.searchsorted(ordered, name_hash, "right")
            for index in order[start:end].tolist():
                modality = None if modalities is None else MODALITIES[modalities[index]]
                found[_build_cause(row, stage, modality)].append(index)
        for cause, indexes in found.items():
            self.add(np.array(indexes, np.int64), cause)


@dataclass(frozen=True)
class ItemArrays:
    """Items by id (sorted), with the number of their modality and the hashes of their names, files and URLs (0 for
    none)."""

    ids: NDArray[np.bytes_]
    modalities: NDArray[np.int8]
    names: NameHashes
    files: NameHashes
    urls: NameHashes


def _read_items(tables: StageTables, ids: NDArray[np.bytes_]) -> ItemArrays:
    """Read these items from the ingested table."""
    items = ItemArrays(ids, np.zeros(len(ids), np.int8), *(np.zeros(len(ids), np.uint64) for _ in range(3)))
    for batch in tables.read("ingest", ["id", "modality", "source", "file", "part", "url"]):
        indexes, rows = find_known(ids, pack_hex(batch, "id"))
        found = batch.take(rows).to_pylist()
        items.modalities[indexes] = [MODALITIES.index(row["modality"]) for row in found]
        items.names[indexes] = hash_names(map(name_item, found))
        items.files[indexes] = hash_names(name_file(row["source"], row["file"]) for row in found)
        items.urls[indexes] = hash_names(row["url"] or "" for row in found)
    return items


def _find_item_causes(items: ItemArrays, lacking: StageTables) -> Causes:
    """Return what became of each item in the dataset that lacks its sample."""
    causes = Causes(len(items.ids))
    for stage, hashes in (("crawl", items.urls), ("ingest", items.urls), ("ingest", items.files)):
        causes.add_drops(lacking, stage, hashes, items.modalities)
    for stage in ("clean", "align"):
        causes.add_drops(lacking, stage, items.names, items.modalities)
    gone = causes.numbers == 0
    if gone.any():
        gone &= ~_find_ingested(items, lacking)
    for number, name in enumerate(MODALITIES):
        causes.add(np.flatnonzero(gone & (items.modalities == number)), LossCause("input", NOT_IN_INPUT, name))
    for batch in lacking.read("align", MODALITIES):
        for name in MODALITIES:
            indexes, _ = find_known(items.ids, pack_ids(read_strings(batch, name)))
            causes.add(indexes, LossCause("align", IN_ANOTHER_SAMPLE, name))
    return causes


def _find_ingested(items: ItemArrays, lacking: StageTables) -> NDArray[np.bool_]:
    """Return which items the other dataset ingested under the same name, whatever their bytes are there."""
    ingested = np.full(len(items.ids), "ingest" not in lacking.stages)
    order = np.argsort(items.names, kind="stable")
    for batch in lacking.read("ingest", ["source", "file", "part"]):
        indexes, _ = find_known(items.names[order], hash_names(map(name_item, batch.to_pylist())))
        ingested[order[indexes]] = True
    return ingested


def _read_drops(tables: StageTables, stage: str, hashes: NameHashes) -> Iterator[tuple[np.uint64, Row]]:
    """Yield the dropped rows of a stage whose keys have one of these hashes (sorted, distinct), with the hash."""
    for batch in tables.read_dropped(stage, DROP_COLUMNS):
        indexes, rows = find_known(hashes, hash_names(read_strings(batch, "key")))
        for index, row in zip(indexes.tolist(), batch.take(rows).to_pylist(), strict=True):
            if row["unit"] != "part":
                yield hashes[index], row


def _build_cause(row: Row, stage: str, modality: str | None) -> LossCause:
    """Return the cause in a dropped row. A limit that no setting gives differs by item, and is left out."""
    return LossCause(stage, row["reason"], modality, row["setting"], row["limit"] if row["setting"] else "")
