"""Where an index of foreign shards is kept, and how it is made."""

import logging
import shutil
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from shardwright.errors import DamageError, FormatError
from shardwright.format.canonical_json import hash_canonical
from shardwright.loading.prefetch import read_ahead
from shardwright.remote.cache_folder import claim_folder, find_default_folder
from shardwright.webdataset.expand_urls import ShardList, Urls, list_shards
from shardwright.webdataset.index_file import read_foreign_index, write_foreign_index
from shardwright.webdataset.index_table import ForeignIndex, ForeignShard, join_foreign_indexes
from shardwright.webdataset.limits import DEFAULT_LIMITS, Limits
from shardwright.webdataset.scan import scan_shard

BESIDE = ".shardwright-index"
"""The folder beside the shards in which an index may be kept."""

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Indexing:
    """How shards are read for an index.

    Attributes:
        limits: see `Limits`.
        unterminated: whether shards may lack the blocks of zeros that end a tar, see `TarReader`.
        threads: shards read at once. Hashing releases the GIL, which pays for members of some 50 kB and more.
        report: called with each shard that is indexed, in their order.
    """

    limits: Limits = DEFAULT_LIMITS
    unterminated: bool = False
    threads: int = 4
    report: Callable[[ForeignShard], None] | None = None


DEFAULT_INDEXING = Indexing()


def index_shards(
    urls: Urls,
    *,
    cache: str | Path | None = None,
    beside: bool = False,
    reread: bool = False,
    indexing: Indexing = DEFAULT_INDEXING,
) -> ForeignIndex:
    """Make the index of foreign shards anew, and keep it where `ShardDataset.from_webdataset` finds it.

    Shards that are the same files as when they were last indexed (size, time of change, inode) are not read again, nor
    are those that an indexing got done before it was killed.

    Args:
        urls: see `list_shards`.
        cache: the folder to keep it in; None is the user's cache folder.
        beside: keep it in `.shardwright-index` in the folder of the shards instead. It goes with them where that folder
            is moved or copied.
        reread: read all shards.
        indexing: see `Indexing`.

    Raises:
        FileNotFoundError, FormatError, DamageError: see `list_shards` and `scan_shard`.
        OSError: the index cannot be written.
    """
    shards = list_shards(urls)
    path = _plan_path(shards, cache, beside)
    _make_folder(path.parent, cache is None and not beside)
    index = _build(shards, path, reread, indexing)
    _keep(path, index)
    return index


def open_index(shards: ShardList, cache: str | Path | None, indexing: Indexing) -> ForeignIndex:
    """The index of these shards, made where there is none yet.

    It is looked for in `cache`; where that is None beside the shards, then in the user's cache folder. One that is
    damaged is made anew; one that cannot be written is made again at each opening. Both are logged.

    Raises:
        FileNotFoundError, FormatError, DamageError: see `scan_shard`.
    """
    if cache is None and (index := _try_index(_plan_path(shards, None, True))):
        return index
    try:
        path = _plan_path(shards, cache)
        if index := _try_index(path):
            return index
        _make_folder(path.parent, cache is None)
    except OSError as error:
        LOGGER.warning("the index cannot be kept: %s", error)
        return _build(shards, None, False, indexing)
    LOGGER.info("indexing %d shards in %s", len(shards.paths), shards.folder)
    index = _build(shards, path, False, indexing)
    try:
        _keep(path, index)
    except OSError as error:
        LOGGER.warning("the index cannot be kept: %s", error)
    return index


def _try_index(path: Path) -> ForeignIndex | None:
    """The index in a file, or None where there is none that can be used."""
    try:
        return read_foreign_index(path)
    except FileNotFoundError:
        return None
    except (DamageError, FormatError, OSError) as error:
        LOGGER.warning("%s; the shards are indexed anew", error)
        return None


def check_shards(shards: ShardList, index: ForeignIndex) -> None:
    """Compare the shards that are there with those of their index, by name and size.

    Raises:
        DamageError: a shard is missing, is not in the index or has another size; the message names it.
    """
    known = [shard.name for shard in index.shards]
    if list(shards.names) != known:
        missing, extra = sorted({*known} - {*shards.names}), sorted({*shards.names} - {*known})
        wrong = f"{missing[0]} is missing" if missing else f"{extra[0]} is new" if extra else "their order has changed"
        message = f"{shards.folder}: not the shards that were indexed: {wrong}; {HINT}"
        raise DamageError(message, shard=next(iter(missing or extra), None))
    for path, shard in zip(shards.paths, index.shards, strict=True):
        try:
            size = path.stat().st_size
        except FileNotFoundError as error:
            raise DamageError(f"{path}: missing; {HINT}", shard=path.name) from error
        if size != shard.bytes:
            message = f"{path}: {size} bytes, it had {shard.bytes} when it was indexed; {HINT}"
            raise DamageError(message, shard=path.name)


HINT = "if that is meant, index_shards or `shardwright index` indexes them anew"


def is_same_file(path: Path, shard: ForeignShard) -> bool:
    """Whether this is still the file that was indexed, going by size, time of change and inode."""
    try:
        found = path.stat()
    except OSError:
        return False
    return (found.st_size, found.st_mtime_ns, found.st_ino) == (shard.bytes, shard.mtime_ns, shard.inode)


def _plan_path(shards: ShardList, cache: str | Path | None, beside: bool = False) -> Path:
    """The file of the index. Beside the shards its name does not depend on where they stand."""
    if beside:
        return shards.folder / BESIDE / f"{hash_canonical(shards.relative_patterns)[:32]}.index"
    folder = Path(cache) if cache else find_default_folder() / "indexes"
    return folder / f"{hash_canonical(shards.patterns)[:32]}.index"


def _make_folder(folder: Path, private: bool) -> None:
    """Make the folder of an index.

    Raises:
        OSError: it cannot be made; or it is to be private, and others may write to it.
    """
    if private:
        claim_folder(folder.parent)
        claim_folder(folder)
    else:
        folder.mkdir(parents=True, exist_ok=True)


def _keep(path: Path, index: ForeignIndex) -> None:
    write_foreign_index(path, index)
    shutil.rmtree(_plan_parts(path), ignore_errors=True)


def _plan_parts(path: Path) -> Path:
    """The folder for the indexes of single shards, until that of all is there."""
    return path.with_suffix(".parts")


def _build(shards: ShardList, path: Path | None, reread: bool, indexing: Indexing) -> ForeignIndex:
    """The index of these shards, with what the index at `path` and the one that was begun there already know."""
    parts: Path | None = None
    known: dict[str, tuple[ForeignIndex, int]] = {}
    if path is not None and not reread:
        parts = _plan_parts(path)
        with suppress(OSError):
            parts.mkdir(exist_ok=True)
        with suppress(OSError, DamageError, FormatError):
            earlier = read_foreign_index(path)
            known = {shard.name: (earlier, number) for number, shard in enumerate(earlier.shards)}

    def take_shard(number: int) -> ForeignIndex:
        name, file = shards.names[number], shards.paths[number]
        index, place = known.get(name, (None, 0))
        if index is not None and is_same_file(file, index.shards[place]):
            return index.take_shard(place)
        return _index_shard(file, name, parts, indexing)

    indexes = []
    with closing(read_ahead(take_shard, range(len(shards.paths)), indexing.threads)) as taken:
        for index in taken:
            indexes.append(index)
            if indexing.report:
                indexing.report(index.shards[0])
    return join_foreign_indexes(indexes, indexing.limits)


def _index_shard(file: Path, name: str, parts: Path | None, indexing: Indexing) -> ForeignIndex:
    """The index of one shard, kept in the folder `parts`."""
    if parts is None:
        return scan_shard(file, name, indexing.limits, indexing.unterminated)
    found = file.stat()
    part = parts / f"{hash_canonical([name, found.st_size, found.st_mtime_ns, found.st_ino])[:32]}.index"
    with suppress(OSError, DamageError, FormatError):
        return read_foreign_index(part)
    index = scan_shard(file, name, indexing.limits, indexing.unterminated)
    with suppress(OSError):  # no place to write, or another process has finished and cleared the folder away
        write_foreign_index(part, index)
    return index
