"""Open the files of a dataset in a folder, or at a URL through a local cache."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from shardwright.format.index import index_dtype
from shardwright.format.manifest import Manifest, ShardRecord, Split, read_manifest
from shardwright.format.npy import encode_npy_header
from shardwright.remote.disk_cache import CacheItem, ShardCache
from shardwright.remote.fetch import Fetcher
from shardwright.remote.leased_files import FileStore, RemoteFiles
from shardwright.remote.settings import Remote, find_scheme, is_url
from shardwright.storage.descriptors import Descriptor
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles
from shardwright.storage.pread_files import PreadFiles

Access = Literal["map", "pread"]


class DatasetLocation(Protocol):
    """The files of a dataset.

    Attributes:
        name: of the location, for messages.
    """

    name: str

    def read_manifest(self) -> Manifest:
        """Read and check the manifest.

        Raises:
            FileNotFoundError: it is missing.
            FormatError, DamageError: see `shardwright.format.manifest.read_manifest`.
        """

    def find_index(self, split: str, record: Split) -> Path:
        """Return the path of a local file with the index of a split; it may be missing, and is not checked yet."""

    def open_files(self, split: str, records: Sequence[ShardRecord]) -> FileSet:
        """Open the shards of a split.

        Raises:
            DamageError: one is missing or has another size.
        """


class LocalLocation:
    """A dataset in a folder of this machine; a `DatasetLocation`."""

    def __init__(self, root: Path, access: Access) -> None:
        self.name = str(root)
        self._root = root
        self._access = access

    def read_manifest(self) -> Manifest:
        """See `DatasetLocation.read_manifest`."""
        return read_manifest(self._root)

    def find_index(self, split: str, record: Split) -> Path:
        """See `DatasetLocation.find_index`."""
        return self._root / split / record.index.name

    def open_files(self, split: str, records: Sequence[ShardRecord]) -> FileSet:
        """See `DatasetLocation.open_files`."""
        paths, sizes = [self._root / split / shard.name for shard in records], [shard.bytes for shard in records]
        return PreadFiles(paths, sizes) if self._access == "pread" else MappedFiles(paths, sizes)


class RemoteLocation:
    """A dataset at a URL, whose shards are fetched whole when they are read, and cached; a `DatasetLocation`.

    Args:
        url: of the folder with `dataset.json`.
        cache: for shards and indexes.
        settings: for fetching them.

    Raises:
        ImportError, ValueError: see `Fetcher`.
    """

    def __init__(self, url: str, cache: ShardCache, settings: Remote) -> None:
        self._fetcher = Fetcher(url, settings)
        self._cache = cache
        self._store = FileStore(cache, self._fetcher, settings)
        self._manifest: Manifest | None = None
        self._index: Descriptor | None = None
        self._index_bytes = 0
        self.name = self._fetcher.name

    def read_manifest(self) -> Manifest:
        """See `DatasetLocation.read_manifest`; fetched each time."""
        self._manifest = self._fetcher.read_manifest(time.sleep)
        return self._manifest

    def find_index(self, split: str, record: Split) -> Path:
        """See `DatasetLocation.find_index`; the file stays in the cache until the shards are closed.

        Raises:
            DamageError: the server does not have it, or sends another file.
            ValueError: the limit of the cache is too small for the index and one shard.
            OSError: it cannot be fetched, see `Fetcher.fetch`; or not cached, see `ShardCache.open`.
        """
        manifest = self._manifest or self.read_manifest()
        dtype = index_dtype(manifest.fields)
        size = len(encode_npy_header(dtype, (record.samples,))) + record.samples * dtype.itemsize
        limit, needed = self._cache.limit_bytes, size + max((shard.bytes for shard in record.shards), default=0)
        if limit is not None and limit < needed:
            what = f"it must be at least {needed:,}, for the index and the largest shard of split {split!r}"
            raise ValueError(f"cache_bytes is {limit:,}; {what}")
        item = CacheItem(record.index.sha256, size, f"{split}/{record.index.name}")
        path = self._cache.find(item)
        self._index, self._index_bytes = Descriptor(0, self._store.open(item, time.sleep), path, size), size
        return path

    def open_files(self, split: str, records: Sequence[ShardRecord]) -> FileSet:
        """See `DatasetLocation.open_files`; shards are fetched later, and only then known to be missing."""
        items = [CacheItem(shard.sha256, shard.bytes, f"{split}/{shard.name}") for shard in records]
        taken = sum({item.sha256: item.bytes for item in items}.values()) + self._index_bytes
        scarce = self._cache.limit_bytes is not None and taken > self._cache.limit_bytes
        return RemoteFiles(self._store, items, self._index, scarce)


@dataclass(frozen=True)
class AccessOptions:
    """How to read a dataset, see `ShardDataset`.

    Attributes:
        access: to the files of a folder.
        cache: the folder for files from a URL, or None for the user's default.
        cache_bytes: the limit of the cache, or None.
        remote: how to fetch files from a URL, or None for the defaults.
    """

    access: Access = "map"
    cache: str | Path | None = None
    cache_bytes: int | None = None
    remote: Remote | None = None


def open_location(root: str | Path, options: AccessOptions) -> tuple[str | Path, DatasetLocation]:
    """Return the folder or URL to open the dataset with again, and its location.

    Args:
        root: a folder, or a URL that fsspec knows.
        options: how to read it.

    Raises:
        ImportError: fsspec, or the package for this kind of URL, is not installed.
        ValueError: `access` or `cache_bytes` is out of range; fsspec does not know this kind of URL.
        OSError: the cache's folder is not this user's alone, see `ShardCache`.
    """
    if options.access not in get_args(Access):
        raise ValueError(f"access is {options.access!r}; it must be one of {', '.join(map(repr, get_args(Access)))}")
    if options.cache_bytes is not None and options.cache_bytes < 1:
        raise ValueError(f"cache_bytes is {options.cache_bytes}; it must be at least 1")
    if not isinstance(root, str) or not is_url(root):
        return Path(root), LocalLocation(Path(root), options.access)
    if find_scheme(root) == "file":
        path = Path(root.partition("://")[2])
        return path, LocalLocation(path, options.access)
    return root, RemoteLocation(root, ShardCache(options.cache, options.cache_bytes), options.remote or Remote())
