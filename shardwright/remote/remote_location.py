"""A dataset at a URL: whole shards are fetched when they are wanted, and read from a cache on this machine."""

import time
from collections.abc import Sequence
from pathlib import Path

from shardwright.format.index import index_dtype
from shardwright.format.manifest import Manifest, ShardRecord, Split
from shardwright.format.npy import encode_npy_header
from shardwright.remote.disk_cache import CacheItem, ShardCache
from shardwright.remote.fetch import Fetcher
from shardwright.remote.leased_files import FileStore, RemoteFiles
from shardwright.remote.settings import Remote
from shardwright.storage.descriptors import Descriptor
from shardwright.storage.file_set import FileSet


class RemoteLocation:
    """A dataset at a URL, see `shardwright.remote.location.DatasetLocation`.

    Args:
        url: of the folder with `dataset.json`.
        cache: where shards and indexes are kept.
        settings: how they are fetched.

    Raises:
        ImportError, ValueError: see `Fetcher`.
    """

    def __init__(self, url: str, cache: ShardCache, settings: Remote) -> None:
        self._fetcher = Fetcher(url, settings)
        self._cache = cache
        self._shelf = FileStore(cache, self._fetcher, settings)
        self._manifest: Manifest | None = None
        self._index: Descriptor | None = None
        self._index_bytes = 0
        self.name = self._fetcher.name

    def read_manifest(self) -> Manifest:
        """See `Place.read_manifest`; as it is at this moment."""
        self._manifest = self._fetcher.read_manifest(time.sleep)
        return self._manifest

    def find_index(self, split: str, record: Split) -> Path:
        """See `Place.find_index`; in the cache, and kept there until the files are closed.

        Raises:
            DamageError: there is none, or what the server sends is another file.
            ValueError: the cache may not be large enough for the index and one shard.
            OSError: it cannot be fetched, see `Fetcher.fetch`; or kept, see `ShardCache.open`.
        """
        manifest = self._manifest or self.read_manifest()
        dtype = index_dtype(manifest.fields)
        size = len(encode_npy_header(dtype, (record.samples,))) + record.samples * dtype.itemsize
        limit, needed = self._cache.limit_bytes, size + max((shard.bytes for shard in record.shards), default=0)
        if limit is not None and limit < needed:
            raise ValueError(f"cache_bytes is {limit:,}: the index and the largest shard of {split!r} take {needed:,}")
        item = CacheItem(record.index.sha256, size, f"{split}/{record.index.name}")
        path = self._cache.find(item)
        self._index, self._index_bytes = Descriptor(0, self._shelf.open(item, time.sleep), path, size), size
        return path

    def open_files(self, split: str, records: Sequence[ShardRecord]) -> FileSet:
        """See `Place.open_files`; nothing is fetched yet, and what is missing is found out when it is."""
        items = [CacheItem(shard.sha256, shard.bytes, f"{split}/{shard.name}") for shard in records]
        taken = sum({item.sha256: item.bytes for item in items}.values()) + self._index_bytes
        scarce = self._cache.limit_bytes is not None and taken > self._cache.limit_bytes
        return RemoteFiles(self._shelf, items, self._index, scarce)
