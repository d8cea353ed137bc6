"""A split, read at random: any sample, any batch, in any order."""

import operator
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright.canonical import decode_json
from shardwright.errors import DamageError
from shardwright.field import Field
from shardwright.index import decode_key, read_index
from shardwright.layout import plan_layout
from shardwright.manifest import Manifest, read_manifest
from shardwright.memory import MappedFiles


class ShardDataset:
    """One split of a dataset, open for reading; a context manager, and a map-style dataset to PyTorch.

    Opening checks the manifest's hash, the index's sha256, and that every shard is there in its full size.
    Each member's crc32 is checked when it is first delivered; what the operating system reads again later is
    not checked again. Arrays are copies: they stay when the dataset closes, and may be written to. The shards
    are memory-mapped: do not truncate them while they are open. Pickling opens the files anew.

    Args:
        root: the folder with `dataset.json`.
        split: such as "train".

    Raises:
        FileNotFoundError: there is no manifest.
        KeyError: it has no such split; the message names those it has.
        DamageError: manifest, index or a shard is not what was written; the message names it.
    """

    def __init__(self, root: str | Path, split: str) -> None:
        self.root = Path(root)
        self.split = split
        self.manifest: Manifest = read_manifest(root)
        if split not in self.manifest.splits:
            raise KeyError(f"{self.root}: no split {split!r}, there are {sorted(self.manifest.splits)}")
        records = self.manifest.splits[split]
        folder = self.root / split
        self._index = read_index(folder / records.index.name, records.index.sha256, self.fields, records.samples)
        self._shards = records.shards
        self._layout = plan_layout(self.fields, 0)  # the meta is last: all offsets hold in every shard
        self._files = MappedFiles([folder / s.name for s in self._shards], [s.bytes for s in self._shards])
        counts = np.array([shard.samples for shard in self._shards], np.int64)
        self._firsts = np.cumsum(counts) - counts
        self._strides = np.array([plan_layout(self.fields, s.meta_bytes).stride for s in self._shards], np.int64)
        self._checked = np.zeros(len(self), np.bool_)
        self._checked_meta = np.zeros(len(self), np.bool_)

    @property
    def fields(self) -> Mapping[str, Field]:
        """What each sample has, in the order of the members."""
        return self.manifest.fields

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The names that `label` counts through, or None."""
        return self.manifest.classes

    @property
    def hash(self) -> str:
        """The dataset's name by its content, see `Manifest.hash`."""
        return self.manifest.hash

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, index: SupportsIndex) -> dict[str, Any]:
        """The sample: an array a field, and its `key`. Negative indices count from the end.

        Raises:
            IndexError: there is no such sample.
            DamageError: a member is not what was written; the message names shard, sample, offset and field.
        """
        return self.__getitems__([operator.index(index)])[0]

    def __getitems__(self, indices: Iterable[SupportsIndex]) -> list[dict[str, Any]]:
        """Several samples at once, as PyTorch's loader asks for them."""
        batch = self.gather([operator.index(index) for index in indices])
        return [
            {name: np.asarray(values[row]) if name in self.fields else values[row] for name, values in batch.items()}
            for row in range(len(batch["key"]))
        ]

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[index] for index in range(len(self)))

    def gather(self, indices: Sequence[int] | NDArray[np.int64]) -> dict[str, Any]:
        """A batch: for each field an array (batch, *shape), freshly allocated, and under `key` a list of str.

        Raises:
            IndexError, DamageError: see `__getitem__`.
            TypeError: the indices are no whole numbers; a mask is none either.
        """
        rows, starts = self._locate(indices)
        members = list(zip(self.fields.values(), self._layout.offsets, strict=False))
        blocks = [self._files.gather(starts + at + len(field.header), field.nbytes) for field, at in members]
        self._check_blocks(rows, starts, blocks)
        batch: dict[str, Any] = {"key": [decode_key(key) for key in self.keys[rows].tolist()]}
        for (name, field), block in zip(self.fields.items(), blocks, strict=True):
            batch[name] = block.view(field.storage).reshape(len(rows), *field.shape)
        return batch

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        """What was written beside the sample's arrays.

        Raises:
            IndexError, DamageError: see `__getitem__`.
        """
        rows, starts = self._locate([operator.index(index)])
        row, start = int(rows[0]), int(starts[0]) + self._layout.offsets[-1]
        content = self._files.read(start, self._shards[self._find_shards(row)].meta_bytes)
        if not self._checked_meta[row]:
            self._check_member(row, -1, zlib.crc32(content))
            self._checked_meta[row] = True
        meta: dict[str, Any] = decode_json(content)
        return meta

    @property
    def keys(self) -> NDArray[np.bytes_]:
        """The samples' keys in order, S64 (samples,), ASCII; read from disk when it is looked at."""
        keys: NDArray[np.bytes_] = self._index["key"]
        return keys

    def find_sample(self, key: str) -> int:
        """The number of the sample with this key; looks through all keys.

        Raises:
            KeyError: there is none.
        """
        found = np.flatnonzero(self.keys == key.encode("ascii", "replace"))  # no key has a question mark
        if not len(found):
            raise KeyError(f"{self.root / self.split}: no sample {key!r}")
        return int(found[0])

    def find_shard(self, index: SupportsIndex) -> str:
        """The name of the shard that holds a sample.

        Raises:
            IndexError: there is no such sample.
        """
        rows, _ = self._locate([operator.index(index)])
        return self._shards[int(self._find_shards(rows)[0])].name

    def close(self) -> None:
        """Let go of the files. Arrays that were delivered stay; reading more is an error."""
        self._files.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[type["ShardDataset"], tuple[Path, str]]:
        return type(self), (self.root, self.split)

    def __repr__(self) -> str:
        return f"ShardDataset({str(self.root)!r}, {self.split!r}): {len(self)} samples, {', '.join(self.fields)}"

    def _locate(self, indices: Sequence[int] | NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Row numbers from 0, and where these samples start in the range of the files, in bytes."""
        rows = np.asarray(indices)
        if rows.size and (rows.dtype.kind not in "iu" or rows.ndim != 1):
            raise TypeError(f"the numbers of samples are wanted, this is {rows.dtype} {rows.shape}")
        rows = rows.astype(np.int64, copy=False)
        outside = (rows < -len(self)) | (rows >= len(self))
        if outside.any():
            raise IndexError(f"no sample {rows[outside][0]} in split {self.split!r}, it has {len(self)}")
        rows = np.where(rows < 0, rows + len(self), rows)
        shards = self._find_shards(rows)
        return rows, self._files.starts[shards] + (rows - self._firsts[shards]) * self._strides[shards]

    def _find_shards(self, rows: Any) -> Any:
        return np.searchsorted(self._firsts, rows, side="right") - 1

    def _check_blocks(
        self, rows: NDArray[np.int64], starts: NDArray[np.int64], blocks: Sequence[NDArray[np.uint8]]
    ) -> None:
        """Check what has just been copied, where it is delivered for the first time."""
        for at in np.flatnonzero(~self._checked[rows]).tolist():
            for member, block in enumerate(blocks):
                wanted = self._layout.heads[member]
                head = self._files.read(int(starts[at]) + self._layout.offsets[member], len(wanted))
                self._check_member(int(rows[at]), member, zlib.crc32(block[at], zlib.crc32(head)))
                if head != wanted:
                    raise self._blame(int(rows[at]), member, "its NPY header is not that of the field in the manifest")
            self._checked[rows[at]] = True

    def _check_member(self, row: int, member: int, found: int) -> None:
        wanted = int(self._index["crc32"][row, member])
        if found != wanted:
            raise self._blame(row, member, f"its crc32 is {found:08x}, the index says {wanted:08x}")

    def _blame(self, row: int, member: int, what: str) -> DamageError:
        """The error that says what is wrong with a member."""
        number = int(self._find_shards(row))
        shard, key = self._shards[number].name, decode_key(self.keys[row])
        offset = (row - int(self._firsts[number])) * int(self._strides[number]) + self._layout.offsets[member]
        suffix = self._layout.suffixes[member]
        return DamageError(
            f"{self.root / self.split / shard}: sample {key!r}, {suffix} at byte {offset}: {what}",
            shard=shard,
            sample=key,
            field=suffix.removesuffix(".npy").removesuffix(".json"),
            offset=offset,
        )
