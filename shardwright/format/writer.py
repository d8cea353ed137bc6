"""Write a split of a dataset sample by sample."""

import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

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
from shardwright.format.index import RepeatFinder, index_dtype, write_index
from shardwright.format.manifest import (
    MANIFEST_NAME,
    SPLIT_NAME,
    Manifest,
    Split,
    read_manifest,
    write_manifest,
)


def write_split(folder: str | Path, fields: Mapping[str, Field], shards: Sequence[WrittenShard]) -> Split:
    """Write the index of each shard in `folder`, sync all of them, and return the split's record for the manifest.

    Raises:
        FormatError: a key occurs twice; the message names it. Or an index is not of samples with these fields.
    """
    folder, dtype, keys = Path(folder), index_dtype(fields), RepeatFinder()
    for shard in shards:
        if shard.index.dtype != dtype:
            raise FormatError(
                f"shard {shard.record.name}: its index is {shard.index.dtype}; with the fields it is {dtype}"
            )
        keys.add(shard.index)
    if repeats := keys.find(shard.index for shard in shards):
        raise FormatError(f"key {repeats[0][0]!r} occurs twice in the split; keys must be unique")
    records = []
    for shard in shards:
        sha256 = write_index(folder / shard.record.index_name, shard.index, sync=False)
        records.append(replace(shard.record, index_sha256=sha256))
    split = Split(tuple(records))
    sync_files([folder / name for name in split.file_names])
    return split


class ShardWriter:
    """Writes a split in shards of `samples_per_shard` samples; a context manager.

    The split appears, complete, when `close` returns; if the `with` block raises, it does not appear. Another writer
    adds another split to the dataset. At most one shard's samples are in memory.

    Args:
        root: the dataset's folder; created if missing.
        split: such as "train".
        fields: of each sample, in the order of the members.
        samples_per_shard: the last shard may have fewer.
        classes: the names that `label` is an index into; None leaves those of the dataset unchanged.
        overwrite: replace the split if it exists.

    Raises:
        ExistsError: the split exists and `overwrite` is not set, or another writer is writing it.
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
            raise FormatError(f"split name is {split!r}; it must match {SPLIT_NAME.pattern}")
        if samples_per_shard < 1:
            raise FormatError(f"samples_per_shard is {samples_per_shard}; it must be at least 1")
        self._root = Path(root)
        self._split = split
        self._fields = check_fields(fields)
        self._samples_per_shard = samples_per_shard
        self._classes = None if classes is None else tuple(classes)
        self._overwrite = overwrite
        self._pending: list[EncodedSample] = []
        self._shards: list[WrittenShard] = []
        self._keys: set[str] = set()
        self._plan_manifest(Split(()))  # checks before any work
        self._root.mkdir(parents=True, exist_ok=True)
        self._folder = self._root / f".{split}.partial"
        self._lock: int | None = _claim_folder(self._folder)

    def write(self, key: str, arrays: Mapping[str, object], meta: Mapping[str, Any] | None = None) -> None:
        """Add a sample.

        Args:
            key: matches `[A-Za-z0-9_-]{1,64}` and is unique in the split.
            arrays: by field: an array, for shape `()` also a Python number; for a field with the encoding "jpeg" the
                bytes of a JPEG file of its height and width, which are stored unchanged, metadata included
                (`encode_jpeg` encodes pixels). They are copied and may change afterwards.
            meta: any JSON object.

        Raises:
            FormatError: the key is not allowed or was written before; a field is missing, unknown, of another dtype or
                shape, NaN or infinite, or not a whole JPEG file of its size; the meta is not JSON. The message names
                sample and field; the sample is not written.
        """
        if self._lock is None:
            raise ShardwrightError("the writer is closed")
        sample = encode_sample(self._fields, Sample(key, arrays, meta or {}))
        if key in self._keys:
            raise FormatError(f"key {key!r} was already written; keys must be unique in a split")
        self._keys.add(key)
        self._pending.append(sample)
        if len(self._pending) == self._samples_per_shard:
            self._write_pending()

    def close(self) -> None:
        """Write the remaining samples and add the split to the dataset. Closing again does nothing."""
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
        """Remove everything that was written."""
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
        """Check that the split can be added to the dataset, and return the manifest that has it."""
        name, folder = self._split, self._root / self._split
        if not (self._root / MANIFEST_NAME).exists():
            current = Manifest(self._fields, {}, self._classes)
        else:
            current = read_manifest(self._root)
        if list(current.fields.items()) != list(self._fields.items()):
            raise FormatError(
                f"{self._root}: the dataset has other fields, {dict(current.fields)}; write to a new folder"
            )
        if self._classes is not None and current.classes not in (None, self._classes):
            raise FormatError(f"{self._root}: the dataset has other classes, {current.classes}; write to a new folder")
        if not self._overwrite and (name in current.splits or (folder.exists() and any(folder.iterdir()))):
            raise ExistsError(f"{folder}: the split already exists; overwrite=True replaces it")
        if name in current.splits:  # both were computed with the split that is replaced
            current = replace(current, statistics=None, sources=None)
        return replace(current, splits={**current.splits, name: split}, classes=self._classes or current.classes)

    def _publish(self, manifest: Manifest) -> None:
        """Rename the complete folder to the split's. If killed between the renames, files and manifest disagree."""
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
    """Wait for the lock of a folder and hold it: two writers must not overwrite each other's manifest."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _claim_folder(folder: Path) -> int:
    """Lock the folder and empty it; return the descriptor that holds the lock, which ends with the process."""
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
        raise ExistsError(f"{folder}: another writer is writing this split; wait until it has finished") from error
    return descriptor
