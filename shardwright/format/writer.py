"""Samples one after another to a split of a dataset on disk."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from shardwright.errors import ExistsError, FormatError, ShardwrightError
from shardwright.format.atomic_write import sync_files
from shardwright.format.encode import (
    EncodedSample,
    Sample,
    ShardBuilder,
    WrittenShard,
    encode_sample,
    find_meta_bytes,
    write_encoded,
)
from shardwright.format.field import Field, check_fields
from shardwright.format.index import INDEX_NAME, find_repeats, index_dtype, write_index
from shardwright.format.manifest import (
    MANIFEST_NAME,
    SPLIT_NAME,
    FileRecord,
    Manifest,
    Split,
    read_manifest,
    write_manifest,
)


def write_split(folder: str | Path, fields: Mapping[str, Field], shards: Sequence[WrittenShard]) -> Split:
    """Sync the shards that stand in `folder`, write their index, and give the split's part of the manifest.

    Raises:
        FormatError: a key is there twice; the message names it.
    """
    indexes = [np.empty(0, index_dtype(fields)), *(shard.index for shard in shards)]
    if repeats := find_repeats(indexes):
        raise FormatError(f"key {repeats[0]!r} is there twice in the split")
    sync_files([Path(folder) / shard.record.name for shard in shards])
    sha256 = write_index(Path(folder) / INDEX_NAME, indexes)
    return Split(tuple(shard.record for shard in shards), FileRecord(INDEX_NAME, sha256))


class ShardWriter:
    """Writes a split, a shard each `samples_per_shard` samples; a context manager.

    The split is there, whole, once `close` returns, and not at all before or if the `with` block raises. A
    further writer for another split adds to the dataset. Of the samples, at most one shard is in memory.

    Args:
        root: the dataset's folder; made if missing.
        split: such as "train".
        fields: what each sample has, in the order of the members.
        samples_per_shard: the last shard has what is left.
        classes: the names that `label` counts through; None leaves those of the dataset as they are.
        overwrite: replace a split that is there.

    Raises:
        ExistsError: the split is there and `overwrite` is not set, or another writer is at it.
        FormatError: a name is not allowed, or the dataset has other fields or classes.
    """

    def __init__(  # noqa: PLR0913  # the names are a contract
        self,
        root: str | Path,
        split: str,
        fields: Mapping[str, Field],
        samples_per_shard: int = 500,
        *,
        classes: Sequence[str] | None = None,
        overwrite: bool = False,
    ) -> None:
        if not SPLIT_NAME.fullmatch(split):
            raise FormatError(f"split name {split!r} must match {SPLIT_NAME.pattern}")
        if samples_per_shard < 1:
            raise FormatError(f"samples_per_shard is {samples_per_shard}, at least 1 is wanted")
        self._root = Path(root)
        self._split = split
        self._fields = check_fields(fields)
        self._samples_per_shard = samples_per_shard
        self._classes = None if classes is None else tuple(classes)
        self._overwrite = overwrite
        self._pending: list[EncodedSample] = []
        self._shards: list[WrittenShard] = []
        self._keys: set[str] = set()
        self._plan_manifest(Split((), FileRecord(INDEX_NAME, "0" * 64)))  # refuses before any work
        self._root.mkdir(parents=True, exist_ok=True)
        self._folder = self._root / f".{split}.partial"
        self._lock: int | None = _claim_folder(self._folder)

    def write(self, key: str, arrays: Mapping[str, object], meta: Mapping[str, Any] | None = None) -> None:
        """Add a sample: an array (or for shape `()` a Python number) a field, and whatever JSON goes with it.

        A field with the encoding "jpeg" takes the bytes of a JPEG file of its height and width, and keeps them as they
        are, metadata included; `encode_jpeg` makes one from pixels.

        The arrays are copied and may change afterwards.

        Raises:
            FormatError: the key is not allowed or was there before; a field is missing, unknown, of another
                dtype or shape, NaN or infinite, or no whole JPEG file of its size; the meta is not JSON. The message
                names sample and field, and the sample is not written.
        """
        if self._lock is None:
            raise ShardwrightError("the writer is closed")
        sample = encode_sample(self._fields, Sample(key, arrays, meta or {}))
        if key in self._keys:
            raise FormatError(f"key {key!r} is there twice in the split")
        self._keys.add(key)
        self._pending.append(sample)
        if len(self._pending) == self._samples_per_shard:
            self._write_pending()

    def close(self) -> None:
        """Write what is left, and give the split its place in the dataset. Closing twice does nothing."""
        if self._lock is None:
            return
        try:
            if self._pending:
                self._write_pending()
            split = write_split(self._folder, self._fields, self._shards)
            with _hold_lock(self._root):
                self._publish(self._plan_manifest(split))
        except BaseException:
            self.abort()
            raise
        self._release()

    def abort(self) -> None:
        """Drop everything that was written."""
        if self._lock is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def _write_pending(self) -> None:
        path = self._folder / f"{self._split}-{len(self._shards):06d}.tar"
        builder = ShardBuilder(self._fields, find_meta_bytes(self._pending))
        self._shards.append(write_encoded(path, builder, self._pending))
        self._pending = []

    def _plan_manifest(self, split: Split) -> Manifest:
        """The dataset's manifest with this split in it, after a check that the two go together."""
        name, folder = self._split, self._root / self._split
        if not (self._root / MANIFEST_NAME).exists():
            current = Manifest(self._fields, {}, self._classes)
        else:
            current = read_manifest(self._root)
        if list(current.fields.items()) != list(self._fields.items()):
            raise FormatError(f"{self._root}: the dataset has other fields: {dict(current.fields)}")
        if self._classes is not None and current.classes not in (None, self._classes):
            raise FormatError(f"{self._root}: the dataset has other classes: {current.classes}")
        if not self._overwrite and (name in current.splits or (folder.exists() and any(folder.iterdir()))):
            raise ExistsError(f"{folder}: the split is there already; overwrite=True replaces it")
        if name in current.splits:  # both were counted over what is replaced
            current = replace(current, statistics=None, sources=None)
        return replace(current, splits={**current.splits, name: split}, classes=self._classes or current.classes)

    def _publish(self, manifest: Manifest) -> None:
        """Move the finished folder to its place. Killed between the moves, the index does not fit the manifest."""
        folder, old = self._root / self._split, self._root / f".{self._split}.old"
        shutil.rmtree(old, ignore_errors=True)
        if folder.exists():
            folder.rename(old)
        self._folder.rename(folder)
        write_manifest(self._root, manifest)
        shutil.rmtree(old, ignore_errors=True)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


@contextmanager
def _hold_lock(folder: Path) -> Iterator[None]:
    """Wait for, and hold, the lock of a folder: writers of two splits do not lose each other's."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _claim_folder(folder: Path) -> int:
    """Make the folder ours and empty; the lock lasts as long as the descriptor, so a killed writer's is gone."""
    folder.mkdir(exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise BlockingIOError  # the other writer finished in between and moved it
        for leftover in folder.iterdir():
            leftover.unlink()
    except BlockingIOError as error:
        os.close(descriptor)
        raise ExistsError(f"{folder}: another writer is at this split") from error
    return descriptor
