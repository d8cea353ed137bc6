"""Mix several sources into one, in proportion to their weights."""

import hashlib
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.base import SampleSource
from shardwright.datasets.collate import merge
from shardwright.datasets.mix_shares import MixShares, Weights, plan_shares
from shardwright.datasets.mix_steps import StepShares
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext, resolve_rows
from shardwright.datasets.subset import check_ascending
from shardwright.errors import FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.field import Field

MARK = "source"
"""The name in a batch under which each sample has the number of its source."""
Split = list[tuple[int, NDArray[np.int64], NDArray[np.int64]]]
"""For each source: its number, indices into the array that was split, and positions or rows of the source."""


class Mix(SampleSource):
    """Samples of several sources in one shuffled epoch; a source itself, with views, that can be part of other mixes.

    Without weights, an epoch has every sample of every source exactly once.

    With weights, an epoch has `samples` samples, and of each source exactly its share, by largest remainder. A source
    is read in passes, each in a new order, that continue where the epoch before stopped: at any time all its samples
    have been read equally often, give or take one, whether a share is larger than the source or smaller. Nothing is
    stored: the sample at a position is computed from (seed, epoch, position), so a loader resumes anywhere and any
    number of ranks agree.

    Where a share is larger than its source, samples repeat within the epoch, and a transform gets the same random
    numbers for the repeats; with `samples` so small that no share exceeds its source, repeats are in different epochs.

    A batch has one more entry, `source`: int64 (batch,), the number of the source of each sample; for nested mixes,
    that of the outermost. Rows are numbered through the sources one after another, and keys may repeat.

    With weights the only order is the shuffled one: `Loader(mix, shuffle=True)` reads it, and indexing, iteration and
    PyTorch's `DataLoader` are refused, since they know only rows. No mix is read block by block: neighbouring samples
    come from the shards of all sources.

    Args:
        sources: one or more, with equal fields. The results of transforms are not known in advance, and must match.
        weights: a positive number for each source, of any sum, or None. Or such numbers by epoch, {0: [3, 1], 10: [1,
            1]}: between these epochs they change on straight lines, before the first and after the last they stay.
        samples: in an epoch, at least 1; by default the sum of the sources' epochs. Only with weights.
        global_batch: the samples of a step, batch_size × world_size: the weights are by step then, counted over all
            epochs, {0: [1, 0], 10_000: [1, 1]}. Each step has its shares, and its samples are shuffled by themselves;
            `samples` is a multiple of it, by default the next one. A weight may be 0 at some steps.

    Raises:
        FormatError: the sources differ in fields, or in the classes of `label`, or have a field `source`; the message
            names the source and the difference.
        ValueError: there is no source; a weight is not a positive finite number; a source with a weight is empty, or
            its share of an epoch is less than one sample; or with global_batch, weights are not by step, or samples is
            no multiple of it.
        TypeError: an element is not a source.
    """

    def __init__(
        self,
        sources: Sequence[SampleSource],
        weights: Weights | None = None,
        samples: int | None = None,
        *,
        global_batch: int | None = None,
    ) -> None:
        self.sources = _check_sources(sources)
        self.split = "+".join(dict.fromkeys(source.split for source in self.sources))
        self.transforms = max(source.transforms for source in self.sources)
        self.is_mapped = all(source.is_mapped for source in self.sources)
        self.weights = weights if weights is None else _freeze(weights)
        self._samples = samples  # as given: a view with fewer rows computes its own default
        self._global_batch = global_batch
        self._shares = _plan(self.weights, samples, global_batch, [len(source) for source in self.sources])
        self._row_ends = np.cumsum([source.count_rows() for source in self.sources], dtype=np.int64)

    @property
    def fields(self) -> Mapping[str, Field]:
        """The fields of each source, see `SampleSource.fields`."""
        return self.sources[0].fields

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names of each source, see `SampleSource.names`; like `key`, `source` is not listed."""
        return self.sources[0].names

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The class names that `label` is an index into, if all sources have the same, else None."""
        classes = {source.classes for source in self.sources}
        return classes.pop() if len(classes) == 1 else None

    @property
    def hash(self) -> str:
        """The hash of the sources' hashes, splits and shares of an epoch."""
        parts = [[source.hash, source.split] for source in self.sources]
        return hash_canonical({"mix": parts, "shares": self._shares.identity, "weighted": self.weights is not None})

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The keys of all rows, copied into one array."""
        return np.concatenate([source.keys for source in self.sources])

    def __len__(self) -> int:
        return self._shares.samples

    def count_rows(self) -> int:
        """Return the number of samples of all sources."""
        return int(self._row_ends[-1])

    def shuffle_rows(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """See `SampleSource.shuffle_rows`.

        The sources' shares give the source of a position, and the reads from it before this one; their number gives
        the pass through the source and the position in it.
        """
        numbers, reads = self._shares.locate(positions, seed, epoch)
        rows = np.empty_like(reads)
        for number in np.unique(numbers).tolist():
            at = np.flatnonzero(numbers == number)
            rows[at] = shuffle_passes(self.sources[number], reads[at], _derive_seed(seed, number))
            rows[at] += self._find_first(number)
        return rows

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows of one source after another, see `SampleSource.list_rows`.

        Raises:
            FormatError: this or a source is a mix with weights.
        """
        if self.weights is not None:
            raise FormatError(
                f"{self!r} has weights, so it has only a shuffled order; read it with Loader(mix, shuffle=True), or "
                "single rows with mix.gather(rows)"
            )
        rows = np.empty_like(positions)
        for number, at, of_source in self._split(positions, np.cumsum(self._shares.list_first())):
            rows[at] = self.sources[number].list_rows(of_source) + self._find_first(number)
        return rows

    def select(self, fields: Sequence[str]) -> SampleSource:
        """See `SampleSource.select`; `source` is kept, like `key`."""
        return self._rebase([source.select(fields) for source in self.sources])

    def take(self, rows: Indices) -> SampleSource:
        """See `SampleSource.take`; the weights are kept, and `samples` if it was given.

        Raises:
            IndexError, TypeError, ValueError: see `SampleSource.take`, or a source with a weight has no sample left.
        """
        numbers = check_ascending(rows, self)
        taken = [np.zeros(0, np.int64) for _ in self.sources]
        for number, _, of_source in self._split(numbers, self._row_ends):
            taken[number] = of_source
        return self._rebase([source.take(of_source) for source, of_source in zip(self.sources, taken, strict=True)])

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """See `SampleSource.gather`; with `source`.

        Raises:
            FormatError: the results of transforms differ in names, dtypes or shapes.
        """
        rows = resolve_rows(indices, self.count_rows(), self.split)
        split = self._split(rows, self._row_ends)
        if len(split) > 1:
            batch = merge(self._gather_parts(split, len(rows), context), len(rows), context.allocate)
        else:
            number, _, of_source = split[0] if split else (0, rows, rows)
            batch = _remove_marks(self.sources[number].gather(of_source, context))
        marks = np.searchsorted(self._row_ends, rows, side="right")
        return batch | {MARK: marks.astype(np.int64, copy=False)}

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """See `SampleSource.read_samples`; with `source`, an array int64 ()."""
        rows = resolve_rows(indices, self.count_rows(), self.split)
        samples: list[dict[str, Any]] = [{} for _ in range(len(rows))]
        for number, at, of_source in self._split(rows, self._row_ends):
            part = replace(context, omit=_map_positions(context, at))
            for index, sample in zip(at.tolist(), self.sources[number].read_samples(of_source, part), strict=True):
                samples[index] = sample | {MARK: np.array(number, np.int64)}
        return samples

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """See `SampleSource.meta`."""
        source, row = self._find_row(index)
        return source.meta(row)

    def find_key(self, index: SupportsIndex) -> str:
        """See `SampleSource.find_key`."""
        source, row = self._find_row(index)
        return source.find_key(row)

    def find_shard(self, index: SupportsIndex) -> str | None:
        """See `SampleSource.find_shard`."""
        source, row = self._find_row(index)
        return source.find_shard(row)

    def find_sizes(self, name: str) -> NDArray[np.int64]:
        """See `SampleSource.find_sizes`."""
        return np.concatenate([source.find_sizes(name) for source in self.sources])

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Raise: see the class.

        Raises:
            FormatError: always.
        """
        raise FormatError(
            f"{self!r} cannot be read block by block, since its neighbours come from all sources; use shuffle=True, or "
            "write the mix to shards"
        )

    def cached(self) -> SampleSource:
        """Return a mix of the cached sources."""
        return self._rebase([source.cached() for source in self.sources])

    def close(self) -> None:
        """Close all sources."""
        for source in self.sources:
            source.close()

    def __repr__(self) -> str:
        shares = self._shares.list_first().tolist()
        parts = ", ".join(f"[{share} of {source!r}]" for share, source in zip(shares, self.sources, strict=True))
        return f"Mix of {len(self)} samples an epoch: {parts}"

    def _rebase(self, sources: Sequence[SampleSource]) -> SampleSource:
        return Mix(sources, self.weights, self._samples, global_batch=self._global_batch)

    def _find_first(self, number: int) -> int:
        """Return the row of a source's first sample."""
        return int(self._row_ends[number - 1]) if number else 0

    def _find_row(self, index: SupportsIndex) -> tuple[SampleSource, int]:
        rows = resolve_rows([operator.index(index)], self.count_rows(), self.split)
        ((number, _, of_source),) = self._split(rows, self._row_ends)
        return self.sources[number], int(of_source[0])

    def _gather_parts(self, split: Split, rows: int, context: ReadContext) -> Iterator[tuple[NDArray[np.int64], Batch]]:
        """Yield the batch of each source, and the indices of its samples in the whole batch."""

        def allocate_part(part_rows: int, size: int) -> NDArray[np.uint8] | None:
            # Of the whole batch's size: each other size would be pooled, and fresh memory costs more than the copy.
            memory = context.allocate(rows, size)
            return None if memory is None else memory[:part_rows]

        for number, at, of_source in split:
            part = replace(context, allocate=allocate_part, omit=_map_positions(context, at))
            yield at, _remove_marks(self.sources[number].gather(of_source, part))

    def _split(self, numbers: NDArray[np.int64], ends: NDArray[np.int64]) -> Split:
        """Split numbers that count through all sources by source, see `Split`."""
        which = np.searchsorted(ends, numbers, side="right")
        split = []
        for number in np.unique(which).tolist():
            at = np.flatnonzero(which == number)
            split.append((number, at, numbers[at] - (ends[number - 1] if number else 0)))
        return split


def _plan(
    weights: Weights | None, samples: int | None, global_batch: int | None, lengths: list[int]
) -> MixShares | StepShares:
    """Return the shares of the sources, see `Mix`.

    Raises:
        ValueError: see `Mix`.
    """
    if global_batch is not None:
        if not isinstance(weights, Mapping):
            raise ValueError(
                f"global_batch is {global_batch} and weights {weights!r}; with it they are by step, "
                "{0: [3, 1], 10_000: [1, 1]}"
            )
        if samples is None:
            samples = -(-sum(lengths) // max(1, global_batch)) * global_batch
        return StepShares(samples, global_batch, weights, lengths)
    if weights is not None:
        return plan_shares(sum(lengths) if samples is None else samples, weights, lengths)
    if samples is not None:
        raise ValueError(
            f"samples is {samples} without weights; give weights, or leave samples out to read each sample once"
        )
    return MixShares(np.array([lengths], np.int64))


def shuffle_passes(source: SampleSource, reads: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the rows of a source read in shuffled passes: read k is at position k % length of pass k // length.

    Each pass that contains one of the reads costs some 60 microseconds.

    Args:
        reads: int64 (any,), numbers of reads, in any order.

    Returns:
        int64, the shape of `reads`.
    """
    passes, positions = np.divmod(reads, len(source))
    by_pass = np.argsort(passes, kind="stable")
    rows = np.empty_like(reads)
    for at in np.split(by_pass, np.flatnonzero(np.diff(passes[by_pass])) + 1):
        if len(at):
            rows[at] = source.shuffle_rows(positions[at], seed, int(passes[at[0]]))
    return rows


def _map_positions(context: ReadContext, at: NDArray[np.int64]) -> Callable[[int], None]:
    """Return `omit` for a source whose samples are at these positions of the batch."""
    return lambda position: context.omit(int(at[position]))


def _freeze(weights: Weights) -> Weights:
    """Return a copy of the weights that nobody else changes."""
    if isinstance(weights, Mapping):
        return {epoch: tuple(at_epoch) for epoch, at_epoch in weights.items()}
    return tuple(weights)


def _remove_marks(batch: Batch) -> Batch:
    """Return the batch without the source numbers of an inner mix."""
    return {name: values for name, values in batch.items() if name != MARK}


def _derive_seed(seed: int, number: int) -> int:
    """Return a seed for the order of one source, so that sources of equal length have different orders."""
    return int.from_bytes(hashlib.blake2b(f"mix {seed} {number}".encode(), digest_size=8).digest())


def _check_sources(sources: Any) -> tuple[SampleSource, ...]:
    """Return the sources as a tuple, after a check that they can be mixed.

    Raises:
        TypeError, ValueError, FormatError: see `Mix`.
    """
    found = () if isinstance(sources, SampleSource) else tuple(sources)
    if isinstance(sources, SampleSource) or not all(isinstance(source, SampleSource) for source in found):
        raise TypeError(
            f"sources is {sources!r:.80}; it must be a list of sources, such as ShardDataset and views of one"
        )
    if not found:
        raise ValueError("sources is empty; a mix needs at least one source")
    for number, source in enumerate(found):
        if MARK in (source.names or ()):
            raise FormatError(
                f"source {number}, {source!r}, has a field {MARK!r}, the name under which a mix adds the source's "
                "number; select the other fields, or rename it in a transform"
            )
        if source.is_collated:
            raise FormatError(
                f"source {number}, {source!r}, has batches padded by ops.Pad, or ragged; mix first, then "
                "mix.decode(name=ops.Pad())"
            )
        _check_equal_fields(f"source {number}, {source!r}", source, found[0])
    return found


def _check_equal_fields(name: str, source: SampleSource, first: SampleSource) -> None:
    hint = "select the fields they have in common, or convert them by with_transform, before mixing"
    for field in dict.fromkeys([*first.fields, *source.fields]):
        found, expected = source.fields.get(field), first.fields.get(field)
        if _ignore_encoding(found) != _ignore_encoding(expected):
            raise FormatError(f"{name}: field {field!r} is {found}, in source 0 it is {expected}; {hint}")
    if source.names is not None and first.names is not None and set(source.names) != set(first.names):
        raise FormatError(f"{name}: the names are {list(source.names)}, in source 0 {list(first.names)}; {hint}")
    if "label" in first.fields and source.classes != first.classes:
        raise FormatError(
            f"{name}: the classes are {source.classes!r:.200}, in source 0 {first.classes!r:.200}; {hint}"
        )


def _ignore_encoding(field: Field | None) -> Field | None:
    """Return the field as in a batch: its encoding in the shards may differ."""
    return None if field is None else replace(field, encoding="npy")
