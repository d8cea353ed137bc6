"""Read the indexes of the shards of a split at a URL, several at a time."""

from collections.abc import Iterator, Sequence

import numpy as np

from shardwright.errors import DamageError
from shardwright.format.index import Index, count_index_bytes, decode_shard_index
from shardwright.format.manifest import Manifest
from shardwright.remote.disk_cache import CacheItem
from shardwright.remote.leased_files import FileStore, RemoteFiles

PART = 16
"""Indexes that are in memory at a time, beside the rows that they are copied into."""


class RemoteIndexes:
    """The indexes of the shards of a split, each fetched when it is read; safe for threads and forked processes.

    They are cached like shards, and released from the cache as soon as they are read.

    Args:
        store: of the files.
        name: of the dataset, for messages.
        split: its name.
        manifest: of the dataset.

    Attributes:
        sizes: of the files in bytes.
    """

    def __init__(self, store: FileStore, name: str, split: str, manifest: Manifest) -> None:
        self._shards = manifest.splits[split].shards
        self._fields = manifest.fields
        self._folder = f"{name}/{split}"
        self.sizes = [count_index_bytes(self._fields, shard.samples) for shard in self._shards]
        items = [
            CacheItem(shard.index_sha256 or "", size, f"{split}/{shard.index_name}")
            for shard, size in zip(self._shards, self.sizes, strict=True)
        ]
        self._files = RemoteFiles(store, items, None, scarce=True)

    def read(self, numbers: Sequence[int]) -> Iterator[tuple[int, Index]]:
        """Yield the indexes of the shards with these numbers, checked.

        Raises:
            DamageError: the server does not have one, or sends another file; or it does not describe its shard.
            OSError: see `FileStore.open`.
            ClosedError: `close` was called.
        """
        for first in range(0, len(numbers), PART):
            part = np.array(numbers[first : first + PART], np.int64)
            for number, content in zip(part.tolist(), self._fetch(part), strict=True):
                shard = self._shards[number]
                path = f"{self._folder}/{shard.index_name}"
                yield number, decode_shard_index(content, path, self._fields, shard)

    def close(self) -> None:
        """Cancel downloads; reading is an error from now on."""
        self._files.close()

    def _fetch(self, numbers: np.ndarray[tuple[int], np.dtype[np.int64]]) -> list[bytes]:
        """Return the content of the files with these numbers."""
        try:
            contents = self._files.read_ranges(self._files.starts[numbers], np.array(self.sizes, np.int64)[numbers])
        except DamageError as error:
            names = {shard.index_name: shard.name for shard in self._shards}
            shard = names.get(error.shard or "")
            raise DamageError(f"{error}; it is the index of {shard}", shard=shard) from None
        return [content.tobytes() for content in contents]
