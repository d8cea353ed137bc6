"""Several sources read as one, each as often as its weight says."""

import hashlib
import math
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import DEFAULT_CONTEXT, Batch, Indices, ReadContext, SampleSource, number_rows
from shardwright.datasets.collate import merge
from shardwright.datasets.permutation import permute
from shardwright.datasets.views import check_ascending
from shardwright.errors import FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field

MARK = "source"
"""The name in a batch that says which of the sources each sample is from."""
Split = list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]
"""By source: its number, places in what was split, and numbers in the source."""


class Mix(SampleSource):
    """Samples of several sources in one shuffled epoch; a source itself, so it has views and goes into other mixes.

    Without weights, an epoch has every sample of every source exactly once.

    With weights, an epoch has `samples` samples, and of each source exactly its share, by largest remainder. A source's
    samples are drawn by passing through it again and again in ever new orders, on from where the epoch before
    stopped: from the first epoch on, its samples have been drawn equally often up to one, whether a share is more
    than the source or less. Nothing is stored: which sample stands at a position is computed from (seed, epoch,
    position), so a loader resumes anywhere and any number of ranks agree.

    Where a share is larger than its source, samples repeat within the epoch, and a transform draws the same for the
    repeats; with `samples` so small that no share exceeds its source they fall into different epochs.

    A batch has one more entry, `source`: int64 (batch,), which of the sources each sample is from; of mixes in a mix,
    the outermost. Row numbers count through the sources one after another, and keys may be there more than once.

    With weights there is no order but the drawn one: `Loader(mix, shuffle=True)` reads it, and plain indexing,
    iteration and PyTorch's own loader are refused, as they know only rows. No mix is read block by block: its
    neighbours come from all the sources' shards at once.

    Args:
        sources: one or more, with equal fields. A transform promises none, so its results have to fit.
        weights: a positive number each, of any sum, or None.
        samples: in an epoch, at least 1; by default the sum of the sources' own epochs. Only with weights.

    Raises:
        FormatError: the sources differ in fields, or in the classes that `label` counts through, or have a field
            `source`; the message says which and how.
        ValueError: there is no source; a weight is not a positive finite number; a source with a weight is
            empty, or its share of an epoch is less than one sample.
        TypeError: something is no source.
    """

    def __init__(
        self, sources: Sequence[SampleSource], weights: Sequence[float] | None = None, samples: int | None = None
    ) -> None:
        self.sources = _check_sources(sources)
        self.split = "+".join(dict.fromkeys(source.split for source in self.sources))
        self.transforms = max(source.transforms for source in self.sources)
        self.weights = None if weights is None else tuple(weights)
        self._samples = samples  # as it was asked for: a view with fewer rows finds its own default
        lengths = [len(source) for source in self.sources]
        if self.weights is not None:
            self._shares = share_out(sum(lengths) if samples is None else samples, self.weights, lengths)
        elif samples is None:
            self._shares = lengths
        else:
            raise ValueError("without weights an epoch has every sample once; samples goes with weights")
        self._share_ends = np.cumsum(self._shares, dtype=np.int64)
        self._row_ends = np.cumsum([source.count_rows() for source in self.sources], dtype=np.int64)

    @property
    def fields(self) -> Mapping[str, Field]:
        """Those of each source, see `SampleSource.fields`."""
        return self.sources[0].fields

    @property
    def names(self) -> tuple[str, ...] | None:
        """Those of each source, see `SampleSource.names`; `source` is there like `key`, always."""
        return self.sources[0].names

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names that `label` counts through, where all sources have the same."""
        classes = {source.classes for source in self.sources}
        return classes.pop() if len(classes) == 1 else None

    @property
    def hash(self) -> str:
        """That of the sources' hashes and splits and their shares of an epoch."""
        parts = [[source.hash, source.split] for source in self.sources]
        return hash_canonical({"mix": parts, "shares": self._shares, "weighted": self.weights is not None})

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The keys of all rows, copied together."""
        return np.concatenate([source.keys for source in self.sources])

    def __len__(self) -> int:
        return int(self._share_ends[-1])

    def count_rows(self) -> int:
        """The samples of all sources."""
        return int(self._row_ends[-1])

    def draw(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """See `SampleSource.draw`.

        A position is sent through a permutation of the epoch: that tells the source, and the number of the draw from it
        in this epoch, hence over all epochs. A draw's number tells the pass and the position in it.
        """
        places = permute(positions, len(self), seed, epoch)
        rows = np.empty_like(places)
        for number, at, own in self._split(places, self._share_ends):
            draws = epoch * self._shares[number] + own
            rows[at] = draw_passes(self.sources[number], draws, _derive_seed(seed, number))
            rows[at] += self._find_first(number)
        return rows

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """One source after another, see `SampleSource.list_rows`.

        Raises:
            FormatError: this or a source is a mix with weights.
        """
        if self.weights is not None:
            raise FormatError(
                "a mix with weights has no plain order: read it with Loader(mix, shuffle=True), "
                f"or single rows of it with mix.gather(rows); this is {self!r}"
            )
        rows = np.empty_like(positions)
        for number, at, own in self._split(positions, self._share_ends):
            rows[at] = self.sources[number].list_rows(own) + self._find_first(number)
        return rows

    def select(self, fields: Sequence[str]) -> SampleSource:
        """See `SampleSource.select`; `source` stays, as `key` does."""
        return self._stand_on([source.select(fields) for source in self.sources])

    def take(self, rows: Indices) -> SampleSource:
        """See `SampleSource.take`; the weights stay, and so does `samples` where it was given.

        Raises:
            IndexError, TypeError, ValueError: see `SampleSource.take`, or a source with a weight has no sample left.
        """
        numbers = check_ascending(rows, self)
        kept = [np.zeros(0, np.int64) for _ in self.sources]
        for number, _, own in self._split(numbers, self._row_ends):
            kept[number] = own
        return self._stand_on([source.take(own) for source, own in zip(self.sources, kept, strict=True)])

    def gather(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`; with `source`.

        Raises:
            FormatError: the results of transforms do not fit together.
        """
        rows = number_rows(indices, self.count_rows(), self.split)
        split = self._split(rows, self._row_ends)
        if len(split) > 1:
            batch = merge(self._gather_parts(split, len(rows), reading), len(rows), reading.allocate)
        else:
            number, _, own = split[0] if split else (0, rows, rows)
            batch = _unmark(self.sources[number].gather(own, reading))
        marks = np.searchsorted(self._row_ends, rows, side="right")
        return batch | {MARK: marks.astype(np.int64, copy=False)}

    def read_samples(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`; with `source`, an array int64 ()."""
        rows = number_rows(indices, self.count_rows(), self.split)
        samples: list[dict[str, Any]] = [{} for _ in range(len(rows))]
        for number, at, own in self._split(rows, self._row_ends):
            for place, sample in zip(at.tolist(), self.sources[number].read_samples(own, reading), strict=True):
                samples[place] = sample | {MARK: np.array(number, np.int64)}
        return samples

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.meta`."""
        source, row = self._find_row(index)
        return source.meta(row)

    def find_shard(self, index: SupportsIndex) -> str | None:
        """See `SampleSource.find_shard`."""
        source, row = self._find_row(index)
        return source.find_shard(row)

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Refused: see the class.

        Raises:
            FormatError: always.
        """
        raise FormatError(
            "a mix cannot be read block by block, as its neighbours come from all its sources: "
            f"shuffle it globally, or copy it into shards of its own; this is {self!r}"
        )

    def cached(self) -> SampleSource:
        """A mix of the sources, each cached."""
        return self._stand_on([source.cached() for source in self.sources])

    def close(self) -> None:
        """Close all sources."""
        for source in self.sources:
            source.close()

    def __repr__(self) -> str:
        parts = ", ".join(f"[{share} of {source!r}]" for share, source in zip(self._shares, self.sources, strict=True))
        return f"Mix of {len(self)} samples an epoch: {parts}"

    def _stand_on(self, sources: Sequence[SampleSource]) -> SampleSource:
        return Mix(sources, self.weights, self._samples)

    def _find_first(self, number: int) -> int:
        """The row of a source's first sample."""
        return int(self._row_ends[number - 1]) if number else 0

    def _find_row(self, index: SupportsIndex) -> tuple[SampleSource, int]:
        rows = number_rows([operator.index(index)], self.count_rows(), self.split)
        ((number, _, own),) = self._split(rows, self._row_ends)
        return self.sources[number], int(own[0])

    def _gather_parts(self, split: Split, rows: int, reading: ReadContext) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """The batch of each source, and its places in the whole."""

        def allocate_part(own: int, size: int) -> NDArray[np.uint8] | None:
            # In the whole's size: other sizes would each be kept for reuse, and fresh memory costs more than the copy.
            memory = reading.allocate(rows, size)
            return None if memory is None else memory[:own]

        part = replace(reading, allocate=allocate_part)
        for number, at, own in split:
            yield at, _unmark(self.sources[number].gather(own, part))

    def _split(self, numbers: NDArray[np.int64], ends: NDArray[np.int64]) -> Split:
        """Which source numbers that count through all fall to: (source, their places, their numbers in the source)."""
        which = np.searchsorted(ends, numbers, side="right")
        split = []
        for number in np.unique(which).tolist():
            at = np.flatnonzero(which == number)
            split.append((number, at, numbers[at] - (ends[number - 1] if number else 0)))
        return split


def share_out(samples: int, weights: Sequence[float], lengths: Sequence[int]) -> list[int]:
    """How many of an epoch's samples each source gives: by largest remainder, ties to the earlier source.

    Raises:
        ValueError: see `Mix`.
    """
    if operator.index(samples) < 1:
        raise ValueError(f"samples {samples!r} must be at least 1")
    if len(weights) != len(lengths):
        raise ValueError(f"{len(weights)} weights for {len(lengths)} sources")
    for number, (weight, length) in enumerate(zip(weights, lengths, strict=True)):
        if isinstance(weight, bool | str) or not math.isfinite(weight) or weight <= 0:
            raise ValueError(f"weight {weight!r} of source {number} must be a positive number")
        if not length:
            raise ValueError(f"source {number} has weight {weight!r} and no sample: leave it out of the mix")
    exact = [Fraction(float(weight)) for weight in weights]
    ideal = [samples * weight / sum(exact) for weight in exact]
    shares = [int(share) for share in ideal]
    by_remainder = sorted(range(len(shares)), key=lambda number: shares[number] - ideal[number])
    for number in by_remainder[: samples - sum(shares)]:
        shares[number] += 1
    if not all(shares):
        raise ValueError(
            f"source {shares.index(0)} would never be read: its weight {weights[shares.index(0)]!r} comes to less than "
            f"one of the {samples} samples of an epoch; raise samples or the weight"
        )
    return shares


def draw_passes(source: SampleSource, draws: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """The rows of these draws from a source: draw k stands at place k % length of pass k // length.

    Each pass that the draws fall into costs some 60 microseconds.

    Args:
        draws: int64 (any,), any numbers.

    Returns:
        int64, the shape of `draws`.
    """
    passes, places = np.divmod(draws, len(source))
    by_pass = np.argsort(passes, kind="stable")
    rows = np.empty_like(draws)
    for at in np.split(by_pass, np.flatnonzero(np.diff(passes[by_pass])) + 1):
        if len(at):
            rows[at] = source.draw(places[at], seed, int(passes[at[0]]))
    return rows


def _unmark(batch: Batch) -> Batch:
    """The batch without the mark of a mix in this one."""
    return {name: values for name, values in batch.items() if name != MARK}


def _derive_seed(seed: int, number: int) -> int:
    """A seed for a source's own order, so that sources of equal length are not drawn in step."""
    return int.from_bytes(hashlib.blake2b(f"mix {seed} {number}".encode(), digest_size=8).digest())


def _check_sources(sources: Any) -> tuple[SampleSource, ...]:
    """The sources, after a check that they fit together.

    Raises:
        TypeError, ValueError, FormatError: see `Mix`.
    """
    found = () if isinstance(sources, SampleSource) else tuple(sources)
    if isinstance(sources, SampleSource) or not all(isinstance(source, SampleSource) for source in found):
        raise TypeError("Mix takes a list of sources, such as ShardDataset and views of one")
    if not found:
        raise ValueError("a mix needs at least one source")
    for number, source in enumerate(found):
        if MARK in (source.names or ()):
            raise FormatError(
                f"source {number}, {source!r}, has a field {MARK!r}, which is the mix's own name for where a sample is "
                "from: select the others, or rename it in a transform"
            )
        _check_alike(f"source {number}, {source!r}", source, found[0])
    return found


def _check_alike(name: str, source: SampleSource, first: SampleSource) -> None:
    hint = "select what they have in common, or bring them to one form with with_transform, before they are mixed"
    for field in dict.fromkeys([*first.fields, *source.fields]):
        own, wanted = source.fields.get(field), first.fields.get(field)
        if _forget_encoding(own) != _forget_encoding(wanted):
            raise FormatError(f"{name}: field {field!r} is {own}, in source 0 it is {wanted}; {hint}")
    if source.names is not None and first.names is not None and set(source.names) != set(first.names):
        raise FormatError(f"{name}: it has {list(source.names)}, source 0 has {list(first.names)}; {hint}")
    if "label" in first.fields and source.classes != first.classes:
        raise FormatError(
            f"{name}: label counts through {source.classes!r:.200}, in source 0 through {first.classes!r:.200}; {hint}"
        )


def _forget_encoding(field: Field | None) -> Field | None:
    """The field as a batch has it: how a shard has it may differ."""
    return None if field is None else replace(field, encoding="npy")
