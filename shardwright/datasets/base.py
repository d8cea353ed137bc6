"""Define a source of samples: a sequence of dicts, of which views are made."""

import operator
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shardwright.datasets.read_context import Batch, Indices, resolve_rows
from shardwright.datasets.sample_reader import SampleReader

if TYPE_CHECKING:
    from shardwright.ops.layouts import BatchLayout
    from shardwright.ops.operation import Operation


class SampleSource(SampleReader):
    """Samples by number: `ShardDataset`, its views and mixes of them are sources, and `Loader` reads any source.

    A source is a context manager, a sequence of dicts, and a map-style dataset for PyTorch.
    """

    def cached(self) -> "SampleSource":
        """Return a view that keeps samples in memory once they were read; transforms run again each time."""
        from shardwright.datasets.cached import CachedSource

        return CachedSource(self)

    def select(self, fields: Sequence[str]) -> "SampleSource":
        """Return a view with only these fields, in this order: no others are read or checked.

        For a source with a transform, they are selected from what the transform returns.

        Raises:
            KeyError: there is no such field; the message lists the fields. After a transform this is raised when the
                first batch is read.
            ValueError: a field is named twice, or `fields` is one name instead of a list.
        """
        from shardwright.datasets.views import SelectedFields

        return SelectedFields(self, fields)

    def filter(self, predicate: Callable[[dict[str, Any]], bool]) -> "SampleSource":
        """Return a view of the samples whose metadata satisfies the predicate, in their order.

        The metadata of every sample is read once, by this call; the view takes 8 bytes a sample, and may be empty. The
        predicate sees the stored metadata, whatever a transform does.

        Raises:
            DamageError: see `meta`.
            Exception: what the predicate raises, with the sample's key in a note.
        """
        from shardwright.datasets.subset import find_matches

        return self.take(find_matches(self, predicate))

    def take(self, rows: Indices) -> "SampleSource":
        """Return a view of the samples with these numbers, such as a fold of a cross-validation.

        Args:
            rows: ascending, each once.

        Raises:
            IndexError, TypeError: see `gather`.
            ValueError: the rows do not ascend.
        """
        from shardwright.datasets.subset import Subset

        return Subset(self, rows)

    def weighted(self, weights: ArrayLike, samples: int | None = None) -> "SampleSource":
        """Return a view whose epochs are drawn with replacement, each sample with a probability in proportion to its
        weight, for example to balance classes.

        The sample at a position is computed from (seed, epoch, position), so a loader resumes anywhere and any number
        of ranks agree. The only order is the drawn one: `Loader(data, shuffle=True)` reads it. Where a sample is drawn
        twice in an epoch, a transform gets the same random numbers for both.

        Args:
            weights: float (rows,), at least 0, of any sum.
            samples: in an epoch; by default the number of rows.

        Raises:
            ValueError: the weights have another shape, or one is negative or not finite, or all are 0.
        """
        from shardwright.datasets.weighted import Weighted

        return Weighted(self, weights, samples)

    def decode(self, **operations: "Operation | BatchLayout") -> "SampleSource":
        """Return a view in which the files of fields are decoded by declared operations, see `shardwright.ops`.

        `data.decode(image=ops.Image(ops.RandomResizedCrop(224), flip=0.5))` gives, under the same name, what the
        operation makes of each file, and maybe further names that begin with it. What other decoders would make of
        these files is not computed. Random numbers are a function of the loader's seed, the epoch, the sample's key and
        the name of the field.

        Values of varying length form a batch by `ops.Pad` or `ops.Ragged`: of an operation,
        `decode(text=ops.Ragged(ops.Tokens("tokenizer.json")))`, or of a field that is there, `decode(words=ops.Pad())`,
        also after a mix or a transform. Its lengths are `<name>_length`, which a batch has from then on.

        The hash is that of this source and the operations, so a saved state is not resumed with others.

        Raises:
            KeyError: there is no such field; the message lists the fields.
            TypeError: something else than an operation was passed.
            FormatError: this source has no files, as after a transform; or the field is decoded already; or an array of
                one length in all samples has no lengths.
        """
        from shardwright.datasets.collated import decode_fields

        return decode_fields(self, operations)

    def pack(
        self,
        names: str | Sequence[str],
        size: int,
        *,
        lengths: "str | NDArray[Any] | None" = None,
        reshuffle: bool = True,
    ) -> "SampleSource":
        """Return a source of rows of `size` tokens, each filled with whole documents: this source's samples.

        A batch has, in place of what is here, `<name>` (batch, size, …) of each name; `positions` int32 (batch, size),
        which count from 0 in each document; and `document` int32 (batch, size), from 1 in each row and 0 where there is
        none: tokens of one document may attend to each other. The `key` is the number of the row.

        A document longer than a row is cut into pieces, which are documents of their own in a row. Every token is in
        exactly one row, in each epoch, and each epoch has the same number of rows. Which documents share a row is a
        function of seed, epoch and lengths, see `shardwright.datasets.packing`.

        Args:
            names: a field with one value for each token, or several, such as the tokens and the weights of the loss.
                Rows are padded with the value that the field declares, or 0.
            size: tokens of a row.
            lengths: of the documents, a field or an array, see `shardwright.datasets.lengths.find_lengths`; None is
                `<name>_length`, or where that is missing, what reading all documents once gives.
            reshuffle: let documents of one length change places in each epoch; False has the same rows in all.

        Raises:
            KeyError: there is no such field; the message lists the fields.
            ValueError: an argument is out of range.
            FormatError: there is no token; the source is a mix with weights; or the values are no arrays.
        """
        from shardwright.datasets.packed import pack_documents

        return pack_documents(self, names, size, lengths, reshuffle)

    def with_transform(
        self,
        function: Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any] | None],
        *,
        skip_none: bool = False,
    ) -> "SampleSource":
        """Return a view whose samples are the results of `function(sample, rng)`.

        The sample is a dict that the function may change: an array for each field, and `key`. The result is a dict
        with any names and values, see `shardwright.datasets.collate` for how they form a batch; `key` is added where
        it is missing.

        All randomness must come from `rng`. Its numbers are a function of the loader's seed, the epoch, the sample's
        key and the number of transforms before this one, see `shardwright.datasets.sample_rng`: the same for any batch
        size, threads, ranks, and after resuming. Outside a loader, seed and epoch are 0.

        The hash is that of this source, since no hash can describe a function: a saved state can be resumed with
        another transform. For worker processes the function must be picklable: defined at the top of a module. A few
        samples are read at a time, so that a batch of decoded images is not in memory at once.

        Args:
            function: from a sample and its generator to a sample.
            skip_none: leave out samples for which the function returns None. In a `Loader` the result for another
                sample takes the place with `valid` False, so that batches keep their shape and ranks stay in step, and
                `Loader.stats.omitted` counts it. Elsewhere None stays an error.

        Raises (on reading):
            Exception: what the function raises, with the sample's key and shard in a note.
            TypeError: it returned something other than a dict.
            FormatError: it changed the key; or its results do not form a batch.
            ShardwrightError: with `skip_none`, it returned None for 1,000 samples in a row.
        """
        from shardwright.datasets.transforms import Transformed

        return Transformed(self, function, skip_none)

    def with_batch_transform(
        self, function: Callable[[Batch, Sequence[np.random.Generator]], Mapping[str, Any]]
    ) -> "SampleSource":
        """Return a view whose batches are the results of `function(batch, rngs)`, for example to mix images.

        The batch is a dict that the function may change: an array (batch, *shape) for each field, a list for each
        value without one shape, and `key`. `rngs` has a generator for each sample, see `with_transform`; use the first
        for what concerns the batch. The result is a dict with as many samples, in the same order; `key` is added where
        it is missing.

        Where a sample's result depends on its batch, it is the same again as long as the batch is: after resuming, and
        for any threads and processes, but not for another batch size or number of ranks. Indexing makes batches of one.

        Raises (on reading):
            Exception: what the function raises, with the first and last key of the batch in a note.
            TypeError: it returned something other than a dict.
            FormatError: it changed the keys, or a value has another number of samples.
        """
        from shardwright.datasets.transforms import BatchTransformed

        return BatchTransformed(self, function)

    def find_sample(self, key: str) -> int:
        """Return the number of the first sample with this key, by a linear search.

        Raises:
            KeyError: there is none.
        """
        found = np.flatnonzero(self.keys == key.encode("ascii", "replace"))  # no key has a question mark
        if not len(found):
            raise KeyError(f"{self!r}: no sample {key!r}")
        return int(found[0])

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """Return a sample: an array for each field, and its `key`. Negative indices count from the end.

        Raises:
            IndexError, DamageError: see `gather`.
            FormatError: see `list_rows`.
        """
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Iterable[SupportsIndex]) -> list[dict[str, Any]]:
        """Return several samples at once, as PyTorch's `DataLoader` requests them.

        Raises:
            FormatError: see `list_rows`.
        """
        positions = resolve_rows([operator.index(index) for index in indices], len(self), self.split)
        return self.read_samples(self.list_rows(positions))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
