"""What a loader reads: samples by number, whether they stand in shards or are a view of others."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.permutation import permute
from shardwright.errors import FormatError
from shardwright.format.field import Field
from shardwright.storage.file_set import FileSet

Indices = Sequence[int] | NDArray[np.int64]
Batch = dict[str, Any]
"""By name: an array (batch, *shape) a field, a list of what has no one shape, and under `key` a list of str."""


def allocate(rows: int, size: int) -> NDArray[np.uint8] | None:
    """No memory of the reader's own: whoever reads takes fresh memory."""
    return None


@dataclass(frozen=True)
class ReadContext:
    """How a batch is read.

    Attributes:
        fields: the names wanted, in their order, or None for all.
        seed, epoch: what the random draws of a transform depend on, beside the sample.
        files: a window that holds the bytes of these samples, or None for the dataset's own files.
        allocate: gives uint8 (rows, size) to write rows of a field into, or None for fresh memory.
    """

    fields: tuple[str, ...] | None = None
    seed: int = 0
    epoch: int = 0
    files: FileSet | None = None
    allocate: Callable[[int, int], NDArray[np.uint8] | None] = allocate


DEFAULT_CONTEXT = ReadContext()


class SampleSource(ABC):
    """Samples by number. `ShardDataset`, its views and mixes of them are sources; `Loader` takes any.

    A context manager, a sequence of dicts, and a map-style dataset to PyTorch.

    Attributes:
        split: its name, for messages and for saved states.
        transforms: how many functions a sample has gone through, one after another: 0 where it comes as it was written.
    """

    split: str
    transforms: int = 0

    @property
    def names(self) -> tuple[str, ...] | None:
        """What a batch has beside `key`, lists included, in its order; None where only reading tells."""
        return tuple(self.fields)

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """What has one dtype and shape in all samples: a batch has it as one array."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...] | None:
        """The names that `label` counts through, or None."""

    @property
    @abstractmethod
    def hash(self) -> str:
        """64 hex digits that name the content and the order of the samples; a saved state is bound to it."""

    @property
    @abstractmethod
    def keys(self) -> NDArray[np.bytes_]:
        """The samples' keys in order, (rows,) of ASCII bytes; read from disk when it is looked at."""

    @abstractmethod
    def gather(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """The samples with these numbers, in this order; negative numbers count from the end.

        Raises:
            IndexError: there is no such sample.
            TypeError: the indices are no whole numbers; a mask is none either.
            DamageError: a member is not what was written; the message names shard, sample, offset and field.
        """

    @abstractmethod
    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """What was written beside the sample's arrays.

        Raises:
            IndexError, DamageError: see `gather`.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the files. Arrays that were delivered stay; reading more is an error."""

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.keys)

    def count_rows(self) -> int:
        """Samples that have a number; an epoch of a mix may have more or fewer."""
        return len(self)

    def draw(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """The samples at these positions of a shuffled epoch: a pure function of its arguments.

        Args:
            positions: int64 (any,), each in 0 … len(self)-1.
        """
        return permute(positions, len(self), seed, epoch)

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """The samples at these positions of an epoch that is not shuffled: those of the same numbers.

        Raises:
            FormatError: this source has no order but the shuffled one.
        """
        return positions

    @property
    def wants_windows(self) -> bool:
        """Whether reading in order goes faster through windows: where no map lets the system read ahead."""
        return False

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Where blocks of some `size` bytes start that one sequential read brings: int64 (blocks,), row numbers.

        The first is 0, and no block reaches over two shards.

        Raises:
            FormatError: this source has no place on disk of its own.
        """
        raise FormatError(f"{self!r} cannot be read block by block")

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """The bytes of these samples, read at once and in the order of the disk, to be given as `ReadContext.files`.

        Args:
            rows: int64 (any,), in any order.

        Raises:
            FormatError: see `cut_blocks`.
            DamageError: a file is missing or too short.
        """
        raise FormatError(f"{self!r} cannot be read block by block")

    @property
    def fixed(self) -> bool:
        """Whether a sample is the same in each epoch."""
        return self.transforms == 0

    def cached(self) -> "SampleSource":
        """The same samples, kept in memory once they were read; what a transform adds is made anew each time."""
        from shardwright.datasets.cached import CachedSource

        return CachedSource(self)

    def read_samples(self, indices: Indices, reading: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """The same as `gather` reads, as a dict a sample: the values need not fit into one array.

        Raises:
            IndexError, TypeError, DamageError: see `gather`.
        """
        return split_batch(self.gather(indices, reading))

    def select(self, fields: Sequence[str]) -> "SampleSource":
        """A view with these fields alone, in this order: nothing else is read or checked.

        Of a source with a transform, these of what the transform returns.

        Raises:
            KeyError: there is no such field; the message names those there are. After a transform that is known when
                the first batch is read.
            ValueError: a field is named twice, or `fields` is one name and no list of names.
        """
        from shardwright.datasets.views import SelectedFields

        return SelectedFields(self, fields)

    def filter(self, predicate: Callable[[dict[str, Any]], bool]) -> "SampleSource":
        """A view of the samples whose meta the predicate holds for, in their order.

        It reads the meta of every sample, once and now, and keeps 8 bytes a sample that stays. None may stay: a view
        of length 0. A transform does not change what the predicate sees.

        Raises:
            DamageError: see `meta`.
            Exception: what the predicate raises, with the sample's key in a note.
        """
        from shardwright.datasets.views import find_matches

        return self.take(find_matches(self, predicate))

    def take(self, rows: Indices) -> "SampleSource":
        """A view of the samples with these numbers, such as a fold, or what a table of your own says to keep.

        Args:
            rows: ascending, each once.

        Raises:
            IndexError, TypeError: see `gather`.
            ValueError: the rows do not ascend.
        """
        from shardwright.datasets.views import Subset

        return Subset(self, rows)

    def with_transform(
        self, function: Callable[[dict[str, Any], np.random.Generator], Mapping[str, Any]]
    ) -> "SampleSource":
        """A view whose samples are what `function(sample, rng)` returns.

        The sample is a dict of its own: an array a field, and `key`. The result is a dict too, with any names and any
        values, see `shardwright.datasets.collate` for what a batch makes of them; the `key` stays where it leaves it
        out.

        All chance is to come from `rng`. Its numbers are a function of the loader's seed, the epoch, the sample's key
        and how many transforms came before, see `shardwright.datasets.sample_rng`: the same for any batch size,
        threads, ranks and
        after any resumption. Outside a loader, seed and epoch are 0.

        The hash stays that of this source, since no hash can say what a function does: a saved state goes on under
        another transform too. For worker processes the function must be picklable, so defined at the top of a module.

        Raises (on reading):
            Exception: what the function raises, with the sample's key and shard in a note.
            TypeError: it returned something else than a dict.
            FormatError: it changed the key; or its results do not fit into a batch.
        """
        from shardwright.datasets.views import Transformed

        return Transformed(self, function)

    def find_sample(self, key: str) -> int:
        """The number of the first sample with this key; looks through all keys.

        Raises:
            KeyError: there is none.
        """
        found = np.flatnonzero(self.keys == key.encode("ascii", "replace"))  # no key has a question mark
        if not len(found):
            raise KeyError(f"{self!r}: no sample {key!r}")
        return int(found[0])

    def find_shard(self, index: SupportsIndex) -> str | None:
        """The name of the shard that holds a sample, or None where that is not known.

        Raises:
            IndexError: there is no such sample.
        """
        return None

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """The sample: an array a field, and its `key`. Negative indices count from the end.

        Raises:
            IndexError, DamageError: see `gather`.
            FormatError: see `list_rows`.
        """
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Iterable[SupportsIndex]) -> list[dict[str, Any]]:
        """Several samples at once, as PyTorch's loader asks for them.

        Raises:
            FormatError: see `list_rows`.
        """
        positions = number_rows([operator.index(index) for index in indices], len(self), self.split)
        return self.read_samples(self.list_rows(positions))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def split_batch(batch: Batch) -> list[dict[str, Any]]:
    """The samples of a batch: an array of each field, what else there is as it is."""
    return [
        {
            name: np.asarray(values[row]) if isinstance(values, np.ndarray) else values[row]
            for name, values in batch.items()
        }
        for row in range(len(batch["key"]))
    ]


def number_rows(indices: Indices, count: int, name: str) -> NDArray[np.int64]:
    """Row numbers from 0, int64 (rows,), of indices that may count from the end.

    Raises:
        IndexError: there is no such sample among `count`; the message has `name`.
        TypeError: the indices are no whole numbers.
    """
    rows = np.asarray(indices)
    if rows.size and (rows.dtype.kind not in "iu" or rows.ndim != 1):
        raise TypeError(f"the numbers of samples are wanted, this is {rows.dtype} {rows.shape}")
    rows = rows.astype(np.int64, copy=False)
    outside = (rows < -count) | (rows >= count)
    if outside.any():
        raise IndexError(f"no sample {rows[outside][0]} in split {name!r}, it has {count}")
    return np.where(rows < 0, rows + count, rows)
