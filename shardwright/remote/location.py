"""Where a dataset stands: a folder, or a URL with a local copy of what was fetched."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

from shardwright.format.manifest import Manifest, ShardRecord, Split, read_manifest
from shardwright.remote.settings import Remote, find_scheme, is_url
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles
from shardwright.storage.pread_files import PreadFiles

Access = Literal["map", "pread"]


class DatasetLocation(Protocol):
    """The files of a dataset.

    Attributes:
        name: what the user named it by, for messages.
    """

    name: str

    def read_manifest(self) -> Manifest:
        """The manifest, checked.

        Raises:
            FileNotFoundError: there is none.
            FormatError, DamageError: see `shardwright.format.manifest.read_manifest`.
        """

    def find_index(self, split: str, record: Split) -> Path:
        """A local file that is to be the index of a split; it may be missing, and is not checked yet."""

    def open_files(self, split: str, records: Sequence[ShardRecord]) -> FileSet:
        """The shards of a split.

        Raises:
            DamageError: one is missing or has another size.
        """


class LocalLocation:
    """A dataset in a folder of this machine."""

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


@dataclass(frozen=True)
class AccessOptions:
    """How a user wants a dataset to be read, see `ShardDataset`.

    Attributes:
        access: of a folder.
        cache: the folder that keeps what is fetched from a URL, or None for the user's own.
        cache_bytes: its limit, or None.
        remote: how it is fetched, or None for the defaults.
    """

    access: Access = "map"
    cache: str | Path | None = None
    cache_bytes: int | None = None
    remote: Remote | None = None


def open_location(root: str | Path, options: AccessOptions) -> tuple[str | Path, DatasetLocation]:
    """What to open a dataset by again, and its place: of a URL that fsspec knows, or of a folder.

    Raises:
        ImportError: fsspec, or the package for this kind of URL, is not installed.
        ValueError: `access` or `cache_bytes` is out of range; fsspec does not know this kind of URL.
        OSError: the cache's folder is not this user's alone, see `ShardCache`.
    """
    if options.access not in get_args(Access):
        raise ValueError(f"access is {options.access!r}, one of {get_args(Access)} is wanted")
    if options.cache_bytes is not None and options.cache_bytes < 1:
        raise ValueError(f"cache_bytes is {options.cache_bytes}, at least 1 is wanted")
    if not isinstance(root, str) or not is_url(root):
        return Path(root), LocalLocation(Path(root), options.access)
    if find_scheme(root) == "file":
        path = Path(root.partition("://")[2])
        return path, LocalLocation(path, options.access)
    from shardwright.remote.disk_cache import ShardCache
    from shardwright.remote.remote_location import RemoteLocation

    return root, RemoteLocation(root, ShardCache(options.cache, options.cache_bytes), options.remote or Remote())
