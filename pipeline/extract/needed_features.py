"""List the features that the samples need and look them up in the item cache; arrays of some 60 bytes a feature."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.cache_key import hash_item, hash_method, hash_span
from pipeline.incremental.feature_entries import compute_entry
from pipeline.incremental.lookup import CacheKeys, EntryLocations, LookupResult, Numbers, locate_entries
from pipeline.extract.aligned_samples import ItemColumns, SampleColumns
from pipeline.extract.plan_fields import FieldPlan
from pipeline.modalities.table import MODALITIES
from pipeline.tables.drops import Rejection

Spans = NDArray[np.float64]
"""Shape (n, 2), seconds; NaN for the start or the end of the item."""


class NeededFeatures:
    """The distinct features of one modality that the samples need.

    Attributes:
        found: their cache keys, sorted, and where their entries are.
        of_sample: for each sample the index of its feature; -1 without such an item.
        items: for each feature the row of its item in the cleaned table.
        inline: for each feature whether the task of its shard computes it (`pipeline.extract.inline_features`); None
            if no feature is inline.
        lost: rejections of the features that no worker can compute, by feature index.
    """

    def __init__(self, found: LookupResult, of_sample: Numbers, items: Numbers, spans: Spans | None) -> None:
        self.found = found
        self.of_sample = of_sample
        self.items = items
        self._spans = spans
        self.inline: NDArray[np.bool_] | None = None
        self.lost: dict[int, Rejection] = {}

    def select_spans(self, indices: NDArray[np.int64] | Numbers) -> Spans | None:
        """Return the spans in seconds of these features; None if all cover whole items."""
        return None if self._spans is None else self._spans[indices]

    def locate(self, rows: NDArray[np.int64]) -> EntryLocations:
        """Return where the features of these samples are; entries of samples without the modality are meaningless."""
        return locate_entries(self.found, self.of_sample[rows])

    def find_lost(self, rows: NDArray[np.int64]) -> dict[int, Rejection]:
        """Return the rejections of these samples' lost features, by position in `rows`."""
        if not self.lost:
            return {}
        indices = enumerate(self.of_sample[rows].tolist())
        return {at: self.lost[index] for at, index in indices if index in self.lost}

    def find_inline(self, rows: NDArray[np.int64]) -> list[int]:
        """Return the positions in `rows` of samples whose feature is computed inline."""
        if self.inline is None:
            return []
        indices = self.of_sample[rows]
        return np.flatnonzero((indices >= 0) & self.inline[indices]).tolist()

    def order_missing(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return indices of the missing, not `inline` features, in the order in which these samples need them."""
        indices = self.of_sample[rows]
        indices = indices[indices >= 0]
        waiting = self.found.objects[indices] < 0
        if self.inline is not None:
            waiting &= ~self.inline[indices]
        different, first = np.unique(indices[waiting], return_index=True)
        missing: NDArray[np.int64] = different[np.argsort(first)].astype(np.int64)
        return missing


def find_needed_features(
    modality: str, plan: FieldPlan, samples: SampleColumns, items: ItemColumns, usable: NDArray[np.bool_]
) -> NeededFeatures:
    """List the features of one modality that the usable samples need, not looked up yet."""
    rows = np.flatnonzero(usable & (samples.items[modality] >= 0))
    keys = _hash_each_feature(hash_features(modality, plan), modality, rows, samples, items)
    different, first, numbers = _number_keys(keys)
    of_sample = np.full(len(samples), -1, np.int32)
    of_sample[rows] = numbers
    chosen = rows[first]
    spans = samples.spans[modality]
    return NeededFeatures(
        LookupResult(different), of_sample, samples.items[modality][chosen], None if spans is None else spans[chosen]
    )


def _number_keys(keys: CacheKeys) -> tuple[CacheKeys, NDArray[np.int32], Numbers]:
    """Return the distinct keys, sorted; the first position of each; and for each given key its index among them.

    `np.unique` returns the same but holds three more copies of the keys in memory.
    """
    order = np.argsort(keys, kind="stable").astype(np.int32)
    ordered = keys[order]
    new = np.ones(len(ordered), bool)
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    numbers = np.empty(len(ordered), np.int32)
    numbers[order] = np.cumsum(new, dtype=np.int32) - 1
    return (ordered if new.all() else ordered[new]), order[new], numbers


def hash_features(modality: str, plan: FieldPlan) -> bytes:
    """Return a hash of how the features of a modality are computed: code, params, libraries."""
    known, params = MODALITIES[modality], plan.params[modality]
    learning = known.learning
    fields = [] if learning else list(plan.modality_fields(modality).items())  # a parsed item is no array yet
    settings = {
        "params": params.model_dump(mode="json", exclude=set(learning.late) if learning else None),
        "fields": [[name, field.dtype, list(field.shape)] for name, field in fields],
        "versions": dict(known.describe(params)),
    }
    compute: Callable[..., Any] = learning.parse if learning else known.extract
    return hash_method(f"features of {modality}", (compute, compute_entry), settings, known.libraries)


def _hash_each_feature(
    method: bytes, modality: str, rows: NDArray[np.int64], samples: SampleColumns, items: ItemColumns
) -> CacheKeys:
    """Return the cache key of the feature of each of these samples."""
    spans = samples.spans[modality]
    keys = np.empty(len(rows), "S32")
    for position, (row, item) in enumerate(zip(rows, samples.items[modality][rows], strict=True)):
        media_type = items.media_types[items.types[item]]
        hashed = hash_item(method, items.sha256s[item].ljust(32, b"\0"), media_type, int(items.orientations[item]))
        keys[position] = hash_span(hashed, *read_span(spans, row))
    return keys


def read_span(spans: Spans | None, row: int | np.integer[Any]) -> tuple[float | None, float | None]:
    """Return one span in seconds, None for the start or the end of the item."""
    if spans is None:
        return None, None
    start, end = spans[row].tolist()
    return None if np.isnan(start) else start, None if np.isnan(end) else end
