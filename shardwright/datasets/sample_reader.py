"""Define what a source of samples implements: reading by number, from shards or as a view of another source."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.permutation import permute
from shardwright.datasets.read_context import (
    DEFAULT_CONTEXT,
    Batch,
    Content,
    Indices,
    ReadContext,
    resolve_rows,
    split_batch,
)
from shardwright.errors import DamageError, FormatError
from shardwright.format.field import Field
from shardwright.format.index import decode_key
from shardwright.storage.file_set import FileSet


class SampleReader(ABC):
    """What a source of samples implements: what it has, and how it is read.

    Attributes:
        split: name of the split, for messages and saved states.
        transforms: number of transforms that a sample goes through: 0 where it is as it was written.
        is_mapped: whether stored bytes are read through memory maps, with no work in Python for each sample.
        is_decoding: whether files are decoded, which takes far longer than to read them.
        is_collated: whether the shape of arrays in a batch depends on the samples in it, see `shardwright.ops.layouts`.
    """

    split: str
    transforms: int = 0
    is_mapped: bool = False
    is_decoding: bool = False
    is_collated: bool = False

    @property
    def names(self) -> tuple[str, ...] | None:
        """The names in a batch beside `key`, lists included, in order; None where they are known only after reading."""
        return tuple(self.fields)

    @property
    @abstractmethod
    def fields(self) -> Mapping[str, Field]:
        """The fields with one dtype and shape in all samples: each is one array in a batch."""

    @property
    @abstractmethod
    def classes(self) -> tuple[str, ...] | None:
        """The class names that `label` is an index into, or None."""

    @property
    @abstractmethod
    def hash(self) -> str:
        """64 hex digits that identify the content and order of the samples; saved states are bound to it."""

    @property
    @abstractmethod
    def keys(self) -> NDArray[np.bytes_]:
        """The keys of the samples in order, (rows,) of ASCII bytes; reads the indexes of all shards on first access."""

    def find_key(self, index: SupportsIndex) -> str:
        """Return the key of a sample; where shards have an index each, only that of its shard is read.

        Raises:
            IndexError: the number is out of range.
            DamageError: the index of its shard is damaged.
        """
        (row,) = resolve_rows([operator.index(index)], self.count_rows(), self.split)
        return decode_key(self.keys[row])

    @abstractmethod
    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        """Return the samples with these numbers as a batch, in this order; negative numbers count from the end.

        Raises:
            IndexError: a number is out of range.
            TypeError: the indices are not integers; boolean masks are refused too.
            DamageError: a member differs from what was written; the message names shard, sample, offset and field.
        """

    @abstractmethod
    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """Return the metadata that was written with the sample.

        Raises:
            IndexError, DamageError: see `gather`.
        """

    @abstractmethod
    def close(self) -> None:
        """Close the files. Arrays that were returned stay valid; further reads raise."""

    def check_contents(self, name: str) -> None:
        """Check that `read_contents` can read this field.

        Raises:
            KeyError: there is no such field; the message lists the fields.
            FormatError: this source has no files of its own.
        """
        raise FormatError(f"{self!r} has no files to decode; decode each source before it is mixed or transformed")

    def read_contents(self, indices: Indices, name: str, context: ReadContext = DEFAULT_CONTEXT) -> Iterator[Content]:
        """Yield the file of one field of each sample as it is in its shard, checked, one at a time.

        Raises:
            IndexError, TypeError, DamageError: see `gather`.
            KeyError, FormatError: see `check_contents`.
        """
        self.check_contents(name)
        raise NotImplementedError

    def find_sizes(self, name: str) -> NDArray[np.int64]:
        """Return the bytes of the file of one field of each row, from the index: int64 (rows,).

        Raises:
            KeyError, FormatError: see `check_contents`.
        """
        self.check_contents(name)
        raise NotImplementedError

    def describe_damage(self, row: int, name: str, what: str) -> DamageError:
        """Return the error that says what is wrong with the file of a field, and where it is."""
        return DamageError(f"{self!r}: sample {self.find_key(row)!r}, {name}: {what}", field=name)

    def __len__(self) -> int:
        """Samples in an epoch."""
        return len(self.keys)

    def count_rows(self) -> int:
        """Return the number of rows; an epoch of a mix may have more or fewer samples."""
        return len(self)

    def shuffle_rows(self, positions: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
        """Return the rows at these positions of a shuffled epoch: a pure function of the arguments.

        Args:
            positions: int64 (any,), each in 0 … len(self)-1.
        """
        return permute(positions, len(self), seed, epoch)

    def list_rows(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the rows at these positions of an epoch that is not shuffled: the same numbers.

        Raises:
            FormatError: this source has only a shuffled order.
        """
        return positions

    @property
    def wants_windows(self) -> bool:
        """Whether reading in order is faster through windows: where no memory map lets the system read ahead."""
        return False

    def cut_blocks(self, size: int) -> NDArray[np.int64]:
        """Return the first row of each block of some `size` contiguous bytes on disk: int64 (blocks,).

        The first is 0, and no block spans two shards.

        Raises:
            FormatError: the samples of this source are not contiguous on disk.
        """
        raise FormatError(f"{self!r} cannot be read block by block; use another shuffle")

    def open_window(self, rows: NDArray[np.int64]) -> FileSet:
        """Read the bytes of these samples at once, in disk order, and return them for `ReadContext.files`.

        Args:
            rows: int64 (any,), in any order.

        Raises:
            FormatError: see `cut_blocks`.
            DamageError: a file is missing or too short.
        """
        raise FormatError(f"{self!r} cannot be read block by block; use another shuffle")

    @property
    def fixed(self) -> bool:
        """Whether a sample is the same in each epoch."""
        return self.transforms == 0

    def read_samples(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> list[dict[str, Any]]:
        """Return the same as `gather` as a dict for each sample: the values need not have one shape.

        Raises:
            IndexError, TypeError, DamageError: see `gather`.
        """
        return split_batch(self.gather(indices, context))

    def find_shard(self, index: SupportsIndex) -> str | None:
        """Return the name of the shard that holds a sample, or None where it is not known.

        Raises:
            IndexError: the number is out of range.
        """
        return None
