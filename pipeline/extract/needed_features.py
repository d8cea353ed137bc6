"""Which features the samples need, and where they are in the item cache: in arrays, some 60 bytes a feature."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.cache_key import hash_item, hash_method, hash_span
from pipeline.cache.feature_entries import compute_entry
from pipeline.cache.lookup import CacheKeys, EntryLocations, LookupResult, Numbers, place_entries
from pipeline.extract.aligned_samples import ItemColumns, SampleColumns
from pipeline.extract.plan_fields import FieldPlan
from pipeline.modalities.table import MODALITIES
from pipeline.tables.drops import Rejection

Spans = NDArray[np.float64]
"""Of shape (n, 2), seconds; NaN for the start or the end of the item."""


class NeededFeatures:
    """The different features of one modality that the samples need.

    Attributes:
        found: their fingerprints, sorted, and where they are.
        of_sample: for each sample the place of its feature among them, -1 where it has no such item.
        items: for each feature the row of its item in the cleaned table.
        own: for each whether the task of its shard computes it, see `pipeline.extract.inline_features`; None where none
        does.
        lost: what is to be said of features that no worker can compute, by their place.
    """

    def __init__(self, found: LookupResult, of_sample: Numbers, items: Numbers, spans: Spans | None) -> None:
        self.found = found
        self.of_sample = of_sample
        self.items = items
        self._spans = spans
        self.own: NDArray[np.bool_] | None = None
        self.lost: dict[int, Rejection] = {}

    def take_spans(self, places: NDArray[np.int64] | Numbers) -> Spans | None:
        """The seconds of their items that these features are made of; None where all are made of the whole."""
        return None if self._spans is None else self._spans[places]

    def place_samples(self, rows: NDArray[np.int64]) -> EntryLocations:
        """Where the features of these samples are; what is said of a sample without one is of no use."""
        return place_entries(self.found, self.of_sample[rows])

    def find_lost(self, rows: NDArray[np.int64]) -> dict[int, Rejection]:
        """What is to be said of those of these samples whose feature no worker can compute, by their place."""
        if not self.lost:
            return {}
        places = enumerate(self.of_sample[rows].tolist())
        return {at: self.lost[place] for at, place in places if place in self.lost}

    def find_own(self, rows: NDArray[np.int64]) -> list[int]:
        """Those of these samples, by their place, whose feature the task of their shard computes."""
        if self.own is None:
            return []
        places = self.of_sample[rows]
        return np.flatnonzero((places >= 0) & self.own[places]).tolist()

    def order_missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The places of the features that are in no object and not `own`, as the samples in this order need them."""
        places = self.of_sample[rows]
        places = places[places >= 0]
        waiting = self.found.objects[places] < 0
        if self.own is not None:
            waiting &= ~self.own[places]
        different, first = np.unique(places[waiting], return_index=True)
        missing: NDArray[np.int64] = different[np.argsort(first)].astype(np.int64)
        return missing


def find_needed_features(
    modality: str, plan: FieldPlan, samples: SampleColumns, items: ItemColumns, usable: NDArray[np.bool_]
) -> NeededFeatures:
    """The features of one modality that the usable samples need, not looked up yet."""
    rows = np.flatnonzero(usable & (samples.items[modality] >= 0))
    prints = _fingerprint_features(hash_features(modality, plan), modality, rows, samples, items)
    different, first, numbers = _number_prints(prints)
    of_sample = np.full(len(samples), -1, np.int32)
    of_sample[rows] = numbers
    chosen = rows[first]
    spans = samples.spans[modality]
    return NeededFeatures(
        LookupResult(different), of_sample, samples.items[modality][chosen], None if spans is None else spans[chosen]
    )


def _number_prints(prints: CacheKeys) -> tuple[CacheKeys, NDArray[np.int32], Numbers]:
    """The different fingerprints, sorted; where each is first; and for each given one its place among them.

    `np.unique` gives the same, and has three more copies of the fingerprints in memory meanwhile.
    """
    order = np.argsort(prints, kind="stable").astype(np.int32)
    ordered = prints[order]
    new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    numbers = np.empty(len(ordered), np.int32)
    numbers[order] = np.cumsum(new, dtype=np.int32) - 1
    return (ordered if new.all() else ordered[new]), order[new], numbers


def hash_features(modality: str, plan: FieldPlan) -> bytes:
    """A hash of how the features of a modality are computed."""
    known, params = MODALITIES[modality], plan.params[modality]
    learning = known.learning
    fields = [] if learning else list(plan.own_fields(modality).items())  # what is parsed is no array yet
    settings = {
        "params": params.model_dump(mode="json", exclude=set(learning.late) if learning else None),
        "fields": [[name, field.dtype, list(field.shape)] for name, field in fields],
        "versions": dict(known.describe(params)),
    }
    compute: Callable[..., Any] = learning.parse if learning else known.extract
    return hash_method(f"features of {modality}", (compute, compute_entry), settings, known.libraries)


def _fingerprint_features(
    method: bytes, modality: str, rows: NDArray[np.int64], samples: SampleColumns, items: ItemColumns
) -> CacheKeys:
    """The fingerprint of the feature of each of these samples."""
    spans = samples.spans[modality]
    prints = np.empty(len(rows), "S32")
    for place, (row, item) in enumerate(zip(rows, samples.items[modality][rows], strict=True)):
        media_type = items.media_types[items.types[item]]
        hashed = hash_item(method, items.sha256s[item].ljust(32, b"\0"), media_type, int(items.orientations[item]))
        prints[place] = hash_span(hashed, *read_span(spans, row))
    return prints


def read_span(spans: Spans | None, row: int | np.integer[Any]) -> tuple[float | None, float | None]:
    """One of the spans: seconds, None for the start or the end of the item."""
    if spans is None:
        return None, None
    start, end = spans[row].tolist()
    return None if np.isnan(start) else start, None if np.isnan(end) else end
