"""Open the files of a dataset in a folder, or at a URL through a local cache."""

import errno
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from shardwright.format.index import Index, count_index_bytes, index_dtype, read_shard_index, read_split_index
from shardwright.format.manifest import FileRecord, Manifest, ShardRecord, Split, read_manifest
from shardwright.remote.disk_cache import CacheItem, ShardCache
from shardwright.remote.fetch import Fetcher
from shardwright.remote.leased_files import FileStore, RemoteFiles
from shardwright.remote.remote_indexes import RemoteIndexes
from shardwright.remote.settings import Remote, find_scheme, is_url
from shardwright.storage.descriptors import Descriptor
from shardwright.storage.file_set import FileSet
from shardwright.storage.index_rows import IndexRows, reserve_rows
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

    def open_index(self, split: str, manifest: Manifest) -> IndexRows:
        """Return the index of a split: that of a shard is read when it is used, the one of an older split by this call.

        Raises:
            DamageError: the one index of an older split is damaged.
        """

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
        self._files: PreadFiles | MappedFiles | None = None

    def read_manifest(self) -> Manifest:
        """See `DatasetLocation.read_manifest`."""
        return read_manifest(self._root)

    def open_index(self, split: str, manifest: Manifest) -> IndexRows:
        """See `DatasetLocation.open_index`."""
        record, fields, folder = manifest.splits[split], manifest.fields, self._root / split
        if record.index is not None:
            path = folder / record.index.name
            return IndexRows(np.asarray(read_split_index(path, fields, record)), _count_samples(record))

        def read(numbers: Sequence[int]) -> Iterator[tuple[int, Index]]:
            return ((number, self._read_index(folder, manifest, record.shards[number])) for number in numbers)

        return IndexRows(reserve_rows(index_dtype(fields), record.samples), _count_samples(record), read)

    def open_files(self, split: str, records: Sequence[ShardRecord]) -> FileSet:
        """See `DatasetLocation.open_files`."""
        folder = self._root / split
        paths, sizes = [folder / shard.name for shard in records], [shard.bytes for shard in records]
        self._files = PreadFiles(paths, sizes) if self._access == "pread" else MappedFiles(paths, sizes)
        return self._files

    def _read_index(self, folder: Path, manifest: Manifest, shard: ShardRecord) -> Index:
        try:
            return read_shard_index(folder, manifest.fields, shard)
        except OSError as error:
            if error.errno != errno.EMFILE or self._files is None:
                raise
            self._files.release_idle()  # this process has no descriptor left: close ours
            return read_shard_index(folder, manifest.fields, shard)


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
        self._index: Descriptor | None = None
        self._index_bytes = 0
        self.name = self._fetcher.name

    def read_manifest(self) -> Manifest:
        """See `DatasetLocation.read_manifest`; fetched each time."""
        return self._fetcher.read_manifest(time.sleep)

    def open_index(self, split: str, manifest: Manifest) -> IndexRows:
        """See `DatasetLocation.open_index`.

        The index of a shard is fetched when it is used, and released once its rows are in memory; the one of an older
        split is fetched by this call, and stays in the cache until the shards are closed.

        Raises:
            DamageError: the server does not have the one index of an older split, or sends another file.
            ValueError: the limit of the cache is too small for an index and one shard.
            OSError: it cannot be fetched, see `Fetcher.fetch`; or not cached, see `ShardCache.open`.
        """
        record, fields = manifest.splits[split], manifest.fields
        largest = max((shard.bytes for shard in record.shards), default=0)
        if record.index is not None:
            size = count_index_bytes(fields, record.samples)
            self._check_limit(size + largest, f"the index and the largest shard of split {split!r}")
            index = read_split_index(self._fetch_index(split, record.index, size), fields, record)
            return IndexRows(np.asarray(index), _count_samples(record))
        indexes = RemoteIndexes(self._store, self.name, split, manifest)
        self._index_bytes = sum(indexes.sizes)
        self._check_limit(max(largest, *indexes.sizes, 0), f"the largest shard of split {split!r}")
        rows = reserve_rows(index_dtype(fields), record.samples)
        return IndexRows(rows, _count_samples(record), indexes.read, indexes.close)

    def open_files(self, split: str, records: Sequence[ShardRecord]) -> FileSet:
        """See `DatasetLocation.open_files`; shards are fetched later, and only then known to be missing."""
        items = [CacheItem(shard.sha256, shard.bytes, f"{split}/{shard.name}") for shard in records]
        taken = sum({item.sha256: item.bytes for item in items}.values()) + self._index_bytes
        scarce = self._cache.limit_bytes is not None and taken > self._cache.limit_bytes
        return RemoteFiles(self._store, items, self._index, scarce)

    def _fetch_index(self, split: str, record: FileRecord, size: int) -> Path:
        """Fetch the one index of an older split, lease it, and return its path in the cache."""
        item = CacheItem(record.sha256, size, f"{split}/{record.name}")
        path = self._cache.find(item)
        self._index, self._index_bytes = Descriptor(0, self._store.open(item, time.sleep), path, size), size
        return path

    def _check_limit(self, needed: int, use: str) -> None:
        limit = self._cache.limit_bytes
        if limit is not None and limit < needed:
            raise ValueError(f"cache_bytes is {limit:,}; it must be at least {needed:,}, for {use}")


def _count_samples(record: Split) -> NDArray[np.int64]:
    return np.array([shard.samples for shard in record.shards], np.int64)


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
