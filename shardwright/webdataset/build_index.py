"""Build the index of WebDataset shards, and find it again in a cache folder or beside the shards."""

import logging
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from shardwright.errors import DamageError, FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.loading.prefetch import read_ahead
from shardwright.remote.cache_folder import find_default_folder, make_cache_folder
from shardwright.webdataset.decompressed_copies import copy_compressed, refuse_compressed
from shardwright.webdataset.expand_urls import ShardList, Urls, list_shards
from shardwright.webdataset.index_file import read_index_file, write_index_file
from shardwright.webdataset.index_table import IndexedShard, MemberIndex, join_indexes
from shardwright.webdataset.limits import DEFAULT_LIMITS, Limits
from shardwright.webdataset.scan import ScannedFile, scan_shard

BESIDE = ".shardwright-index"
"""The folder beside the shards that may hold their index."""

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Indexing:
    """How shards are read for an index.

    Attributes:
        limits: see `Limits`.
        unterminated: whether shards may lack the blocks of zeros that end a tar, see `TarReader`.
        threads: shards read at once. Hashing releases the GIL, which pays off for members of some 50 kB and more.
        report: called with each shard once it is indexed, in order.
    """

    limits: Limits = DEFAULT_LIMITS
    unterminated: bool = False
    threads: int = 4
    report: Callable[[IndexedShard], None] | None = None


DEFAULT_INDEXING = Indexing()


def index_shards(  # noqa: PLR0913 (all but the first by keyword)
    urls: Urls,
    *,
    cache: str | Path | None = None,
    beside: bool = False,
    reread: bool = False,
    decompress: bool = False,
    indexing: Indexing = DEFAULT_INDEXING,
) -> MemberIndex:
    """Index WebDataset shards as they are now, and store the index where `ShardDataset.from_webdataset` finds it.

    Shards that are the same files as when they were last indexed (size, modification time, inode) are not read again,
    nor are those that an interrupted run has indexed.

    Args:
        urls: see `list_shards`.
        cache: the folder for the index; None is the user's cache folder.
        beside: write it to `.shardwright-index` in the folder of the shards instead, so that it is moved or copied with
            them.
        reread: read all shards again.
        decompress: see `ShardDataset.from_webdataset`.
        indexing: see `Indexing`.

    Raises:
        FileNotFoundError, FormatError, DamageError: see `locate_shards` and `scan_shard`.
        OSError: the index cannot be written.
    """
    shards = locate_shards(urls, decompress, cache, indexing)
    path = _plan_path(shards, cache, beside)
    make_cache_folder(path.parent, cache is None and not beside)
    index = _build(shards, path, reread, indexing)
    _store(path, index)
    return index


def locate_shards(urls: Urls, decompress: bool, cache: str | Path | None, indexing: Indexing) -> ShardList:
    """Return the shards that a user names, with decompressed copies if they are allowed.

    Raises:
        FileNotFoundError, FormatError, DamageError, OSError: see `list_shards` and `copy_compressed`; or a shard is
            compressed, and `decompress` is False.
    """
    shards = list_shards(urls, decompress)
    if decompress:
        return copy_compressed(shards, cache, indexing.limits, indexing.threads)
    refuse_compressed(shards)
    return shards


def open_index(shards: ShardList, cache: str | Path | None, indexing: Indexing) -> MemberIndex:
    """Return the index of these shards, building it if there is none yet.

    It is looked up in `cache`; if that is None beside the shards, then in the user's cache folder. A damaged index is
    built again; an index that cannot be written is built at each opening. Both are logged.

    Raises:
        FileNotFoundError, FormatError, DamageError: see `scan_shard`.
    """
    if cache is None and (index := _try_index(_plan_path(shards, None, True))):
        return index
    try:
        path = _plan_path(shards, cache)
        if index := _try_index(path):
            return index
        make_cache_folder(path.parent, cache is None)
    except OSError as error:
        LOGGER.warning("the index cannot be written, so the shards are indexed at each opening: %s", error)
        return _build(shards, None, False, indexing)
    LOGGER.info("indexing %d shards in %s", len(shards.paths), shards.folder)
    index = _build(shards, path, False, indexing)
    try:
        _store(path, index)
    except OSError as error:
        LOGGER.warning("the index cannot be written, so the shards are indexed at each opening: %s", error)
    return index


def _try_index(path: Path) -> MemberIndex | None:
    """Return the index in a file, or None if there is none or it cannot be used."""
    try:
        return read_index_file(path)
    except FileNotFoundError:
        return None
    except (DamageError, FormatError, OSError) as error:
        LOGGER.warning("%s; the shards are indexed again", error)
        return None


def check_shards(shards: ShardList, index: MemberIndex) -> None:
    """Check that the shards have the names and sizes of their index.

    Raises:
        DamageError: a shard is missing, is not in the index or has another size; the message names it.
    """
    known = [shard.name for shard in index.shards]
    if list(shards.names) != known:
        missing, extra = sorted({*known} - {*shards.names}), sorted({*shards.names} - {*known})
        wrong = f"{missing[0]} is missing" if missing else f"{extra[0]} is new" if extra else "their order has changed"
        message = f"{shards.folder}: the shards differ from those that were indexed: {wrong}; {HINT}"
        raise DamageError(message, shard=next(iter(missing or extra), None))
    for path, shard in zip(shards.paths, index.shards, strict=True):
        copy = shards.copies.get(path)
        try:
            size = path.stat().st_size if copy is None else copy.bytes
        except FileNotFoundError as error:
            raise DamageError(f"{path} is missing; {HINT}", shard=path.name) from error
        if size != shard.bytes:
            message = f"{path} has {size} bytes; it had {shard.bytes} when it was indexed; {HINT}"
            raise DamageError(message, shard=path.name)
        if copy is not None and copy.sha256 != shard.sha256:
            message = f"{path} decompresses to other bytes than when it was indexed; {HINT}"
            raise DamageError(message, shard=path.name)


HINT = "if this is intended, index the shards again by index_shards or `shardwright index`"


def describe_remedy(path: Path, file: Path) -> str:
    """Return the end of a message about a shard whose bytes are not those that were indexed, read from `file`."""
    if file == path:
        return f"; {HINT}"
    return f"; it was read from its decompressed copy {file}: remove that, and the next opening makes it again"


def is_same_file(path: Path, shard: IndexedShard) -> bool:
    """Return whether this is still the file that was indexed, by size, modification time and inode."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns, found.st_ino) == (shard.bytes, shard.mtime_ns, shard.inode)


def _plan_path(shards: ShardList, cache: str | Path | None, beside: bool = False) -> Path:
    """Return the file of the index. Beside the shards, its name does not depend on their absolute path."""
    if beside:
        return shards.folder / BESIDE / f"{hash_canonical(shards.relative_patterns)[:32]}.index"
    folder = Path(cache) if cache else find_default_folder() / "indexes"
    return folder / f"{hash_canonical(shards.patterns)[:32]}.index"


def _store(path: Path, index: MemberIndex) -> None:
    write_index_file(path, index)
    shutil.rmtree(_plan_parts(path), ignore_errors=True)


def _plan_parts(path: Path) -> Path:
    """Return the folder for the indexes of single shards, until the index of all is complete."""
    return path.with_suffix(".parts")


def _build(shards: ShardList, path: Path | None, reread: bool, indexing: Indexing) -> MemberIndex:
    """Index the shards, reusing the index at `path` and the parts of an interrupted run there."""
    parts: Path | None = None
    known: dict[str, tuple[MemberIndex, int]] = {}
    if path is not None and not reread:
        parts = _plan_parts(path)
        with suppress(OSError):
            parts.mkdir(exist_ok=True)
        with suppress(OSError, DamageError, FormatError):
            earlier = read_index_file(path)
            known = {shard.name: (earlier, number) for number, shard in enumerate(earlier.shards)}

    def take_shard(number: int) -> MemberIndex:
        name, file = shards.names[number], shards.files[number]
        index, position = known.get(name, (None, 0))
        if index is not None and is_same_file(file, index.shards[position]):
            return index.take_shard(position)
        return _index_shard(ScannedFile(file, name, str(shards.paths[number])), parts, indexing)

    indexes = []
    with closing(read_ahead(take_shard, range(len(shards.paths)), indexing.threads)) as taken:
        for index in taken:
            indexes.append(index)
            if indexing.report:
                indexing.report(index.shards[0])
    return join_indexes(indexes, indexing.limits)


def _index_shard(file: ScannedFile, parts: Path | None, indexing: Indexing) -> MemberIndex:
    """Return the index of one shard, stored in the folder `parts`."""
    if parts is None:
        return scan_shard(file, indexing.limits, indexing.unterminated)
    found = file.path.stat()
    part = parts / f"{hash_canonical([file.name, found.st_size, found.st_mtime_ns, found.st_ino])[:32]}.index"
    with suppress(OSError, DamageError, FormatError):
        return read_index_file(part)
    index = scan_shard(file, indexing.limits, indexing.unterminated)
    with suppress(OSError):  # not writable, or another process has finished and removed the folder
        write_index_file(part, index)
    return index
