"""Why one side has samples that the other has not: what became of their items there, by its ledgers.

Of a sample's items the one decides that was lost first: where its picture is gone, its sound lacks a partner.
"""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.lineage.diff.sample_items import Places, Prints, find_in, join_ids, pack_ids, print_names, read_parts
from pipeline.lineage.settings import find_setting
from pipeline.lineage.stage_tables import StageTables
from pipeline.lineage.why.explain import explain_limit
from pipeline.tables.contracts import MODALITIES
from pipeline.tables.drops import Reason
from pipeline.tables.item_names import name_file, name_item
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import pack_hex, read_strings
from shardwright.format.index import decode_key

STAGES = ("input", "crawl", "ingest", "clean", "align")
"""In the order in which an item meets them; the input is what comes before all."""

UNKNOWN, IN_ANOTHER, NOT_THERE = "unknown", "in_another_sample", "not_there"

DROP_COLUMNS = ("key", "unit", "reason", "detail", "limit")


@dataclass(frozen=True, order=True)
class LossCause:
    """Where an item was lost, and why: a reason of the ledger, or `not_there`, `in_another_sample`, `unknown`.

    `modality` is the item's; None where it is the sample itself. `setting` is the key of `params.yaml` that decided,
    `limit` its value then.
    """

    stage: str
    reason: str
    modality: str | None = None
    setting: str | None = None
    limit: str = ""

    @property
    def rank(self) -> int:
        """Smaller for what is lost earlier; of align what follows from the loss of another comes last."""
        later = {Reason.MISSING_PARTNER: 1, IN_ANOTHER: 2, UNKNOWN: 3}
        return len(STAGES) + later[self.reason] if self.reason in later else ORDER[self.stage]

    def __str__(self) -> str:
        what = f"its {self.modality}" if self.modality else "the sample"
        if self.reason == NOT_THERE:
            return f"{what} is not in what comes in"
        if self.reason == IN_ANOTHER:
            return f"{what} is in another sample"
        if self.reason == UNKNOWN:
            return "no ledger tells of it"
        return f"{what} is dropped in {self.stage}: {self.reason}{explain_limit(self.setting, self.limit)}"


ORDER = {stage: rank for rank, stage in enumerate((*STAGES, "extract"))}
NOTHING = LossCause("align", UNKNOWN)


def find_causes(keys: NDArray[np.bytes_], having: StageTables, lacking: StageTables) -> "Causes":
    """Why `lacking` has not the samples `keys`, sorted, which `having` has.

    Raises:
        InputError: a table is missing or damaged.
    """
    causes = Causes(len(keys))
    causes.note_drops(lacking, "extract", print_names(decode_key(key) for key in keys.tolist()))
    parts = read_parts(having, keys)
    items = _read_items(having, join_ids(parts))
    fates = _find_fates(items, lacking)
    for ids in parts.values():
        places, rows = find_in(items.ids, ids)
        for fate in np.unique(fates.numbers[places]).tolist():
            causes.note(rows[fates.numbers[places] == fate], fates.known[fate])
    return causes


class Causes:
    """The first cause of each of `count` things that was noted, by rank.

    Attributes:
        known: all causes.
        numbers: for each thing the number of its cause.
    """

    def __init__(self, count: int) -> None:
        self.known = [NOTHING]
        self.numbers = np.zeros(count, np.int32)
        self._ranks = np.array([NOTHING.rank], np.int32)
        self._places = {NOTHING: 0}

    def note(self, places: Places, cause: LossCause) -> None:
        """Note a cause for the things at these places, where it comes before what was noted."""
        if cause not in self._places:
            self._places[cause] = len(self.known)
            self.known.append(cause)
            self._ranks = np.append(self._ranks, np.int32(cause.rank))
        later = self._ranks[self.numbers[places]] > cause.rank
        self.numbers[places[later]] = self._places[cause]

    def note_drops(
        self, ledgers: StageTables, stage: str, prints: Prints, modalities: NDArray[np.int8] | None = None
    ) -> None:
        """Note what a stage's ledger says of the things with these prints, items if they have `modalities`."""
        order = np.argsort(prints, kind="stable")
        ordered = prints[order]
        found: dict[LossCause, list[int]] = defaultdict(list)
        for printed, row in _read_drops(ledgers, stage, np.unique(prints)):
            start, end = np.searchsorted(ordered, printed), np.searchsorted(ordered, printed, "right")
            for thing in order[start:end].tolist():
                modality = None if modalities is None else MODALITIES[modalities[thing]]
                found[_make_cause(row, stage, modality)].append(thing)
        for cause, things in found.items():
            self.note(np.array(things, np.int64), cause)


@dataclass(frozen=True)
class ItemArrays:
    """Items by id (sorted), with the number of their modality and the prints of their names, files and URLs (0 for
    none)."""

    ids: NDArray[np.bytes_]
    modalities: NDArray[np.int8]
    names: Prints
    files: Prints
    urls: Prints


def _read_items(ledgers: StageTables, ids: NDArray[np.bytes_]) -> ItemArrays:
    """These items, as ingest knows them."""
    items = ItemArrays(ids, np.zeros(len(ids), np.int8), *(np.zeros(len(ids), np.uint64) for _ in range(3)))
    for batch in ledgers.read("ingest", ["id", "modality", "source", "file", "part", "url"]):
        places, rows = find_in(ids, pack_hex(batch, "id"))
        found = batch.take(rows).to_pylist()
        items.modalities[places] = [MODALITIES.index(row["modality"]) for row in found]
        items.names[places] = print_names(map(name_item, found))
        items.files[places] = print_names(name_file(row["source"], row["file"]) for row in found)
        items.urls[places] = print_names(row["url"] or "" for row in found)
    return items


def _find_fates(items: ItemArrays, lacking: StageTables) -> Causes:
    """What became of each of the items on the side that lacks their samples."""
    fates = Causes(len(items.ids))
    for stage, prints in (("crawl", items.urls), ("ingest", items.urls), ("ingest", items.files)):
        fates.note_drops(lacking, stage, prints, items.modalities)
    for stage in ("clean", "align"):
        fates.note_drops(lacking, stage, items.names, items.modalities)
    gone = fates.numbers == 0
    if gone.any():
        gone &= ~_find_there(items, lacking)
    for number, name in enumerate(MODALITIES):
        fates.note(np.flatnonzero(gone & (items.modalities == number)), LossCause("input", NOT_THERE, name))
    for batch in lacking.read("align", MODALITIES):
        for name in MODALITIES:
            places, _ = find_in(items.ids, pack_ids(read_strings(batch, name)))
            fates.note(places, LossCause("align", IN_ANOTHER, name))
    return fates


def _find_there(items: ItemArrays, lacking: StageTables) -> NDArray[np.bool_]:
    """Which of the items the other side's ingest has by their names, whatever their bytes are there."""
    there = np.full(len(items.ids), "ingest" not in lacking.stages)
    order = np.argsort(items.names, kind="stable")
    for batch in lacking.read("ingest", ["source", "file", "part"]):
        places, _ = find_in(items.names[order], print_names(map(name_item, batch.to_pylist())))
        there[order[places]] = True
    return there


def _read_drops(ledgers: StageTables, stage: str, prints: Prints) -> Iterator[tuple[np.uint64, Row]]:
    """The rows of a stage's ledger whose keys have one of these prints (sorted, none twice), with the print."""
    for batch in ledgers.read_dropped(stage, DROP_COLUMNS):
        places, rows = find_in(prints, print_names(read_strings(batch, "key")))
        for place, row in zip(places.tolist(), batch.take(rows).to_pylist(), strict=True):
            if row["unit"] != "part":
                yield prints[place], row


def _make_cause(row: Row, stage: str, modality: str | None) -> LossCause:
    """The cause in a row of a ledger. Limits that no setting gives are the item's own, and tell no causes apart."""
    setting = find_setting(stage, row["reason"], row["detail"], modality)
    return LossCause(stage, row["reason"], modality, setting, row["limit"] if setting else "")
