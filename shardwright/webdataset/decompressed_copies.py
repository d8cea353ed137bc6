"""Decompress shards once, into a folder that several processes share.

A copy is named by the sha256 of the compressed file, so that it is found again when that is moved, copied or touched,
and another file never gets it. Beside it lies a record of the size and sha256 of its own bytes, and a note for each
compressed file that was seen, named by its inode, size and modification time, so that it is hashed once.

Layout: `<sha256>.tar`, `<sha256>.json`, `<sha256>.lock`, `<identity>.note`. All may be removed at any time.
"""

import errno
import fcntl
import hashlib
import logging
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import BinaryIO

from shardwright.errors import DamageError, FormatError
from shardwright.format.atomic_write import write_file
from shardwright.format.canonical_json import decode_json, encode_canonical, hash_canonical
from shardwright.format.dataclass_json import load_value
from shardwright.format.manifest import SHA256
from shardwright.format.walk_shard import hash_file, open_file
from shardwright.loading.prefetch import read_ahead
from shardwright.remote.cache_folder import find_default_folder, make_cache_folder
from shardwright.webdataset.decompress import LOADERS, decompress_file
from shardwright.webdataset.expand_urls import ALLOW, COMPRESSED, Copy, ShardList
from shardwright.webdataset.limits import Limits
from shardwright.webdataset.tar import find_compression

FOLDER = "decompressed"
MAGIC_BYTES = 8
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK)
"""Of file systems that cannot lock: two processes may then decompress the same shard, to the same bytes."""

LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Record:
    """A copy as it was written: size and sha256 of its bytes, and what shows that nobody has written to it since."""

    bytes: int
    sha256: str
    mtime_ns: int
    inode: int


def refuse_compressed(shards: ShardList) -> None:
    """Check that no shard with the name of a compressed one is compressed.

    Raises:
        FormatError: one is; the message says how to allow it.
    """
    for path in shards.paths:
        if path.name.endswith(COMPRESSED) and (form := _find_form(path)):
            raise FormatError(f"{path}: it is compressed with {form}, so samples cannot be read at random; {ALLOW}")


def copy_compressed(shards: ShardList, cache: str | Path | None, limits: Limits, threads: int) -> ShardList:
    """Return the shards with a copy of each that is compressed with gzip or Zstandard, as their first bytes say.

    A copy that is there is used if its size, modification time and inode are those of when it was written, or else its
    sha256; otherwise it is made again.

    Args:
        shards: to read.
        cache: the folder for the copies; None is the user's cache folder.
        limits: see `Limits.decompressed_bytes`.
        threads: shards that are decompressed at a time; both libraries release the GIL.

    Raises:
        DamageError: compressed data is damaged or truncated, or its file was written to meanwhile; it names the file.
        FormatError: a shard decompresses to more than the limit.
        OSError: the copies cannot be written.
    """
    packed = [path for path in shards.paths if _find_form(path) is not None]
    if not packed:
        return shards
    folder = (Path(cache) if cache else find_default_folder()) / FOLDER
    make_cache_folder(folder, cache is None)
    with closing(read_ahead(lambda path: _copy_shard(path, folder, limits), packed, threads)) as copies:
        return replace(shards, copies=dict(zip(packed, copies, strict=True)))


def _find_form(path: Path) -> str | None:
    """Return the format of a compressed shard, a key of `LOADERS`; None for others, and those that are missing."""
    try:
        with open_file(path) as file:
            form = find_compression(file.read(MAGIC_BYTES))
    except FileNotFoundError:
        return None
    return form if form in LOADERS else None


def _copy_shard(path: Path, folder: Path, limits: Limits) -> Copy:
    with open_file(path) as file:
        identity = _identify(file)
        note = folder / f"{hash_canonical(identity)}.note"
        source = _read_note(note)
        if source and (copy := _find_unchanged(folder / f"{source}.tar")):
            return copy
        source = hashlib.file_digest(file, "sha256").hexdigest()
        target = folder / f"{source}.tar"
        with _hold_lock(target.with_suffix(".lock")):
            copy = _check_copy(target)
            if copy is None:
                file.seek(0)
                copy = _write_copy(file, path, target, limits)
            if _identify(file) != identity:
                copy.path.unlink(missing_ok=True)
                what = f"{path} was written to while it was decompressed; open it when its writer is done"
                raise DamageError(what, shard=path.name)
    write_file(note, [source.encode()])
    return copy


def _write_copy(file: BinaryIO, path: Path, target: Path, limits: Limits) -> Copy:
    for leftover in target.parent.glob(f".{target.name}.*.partial"):  # of a process that was killed
        leftover.unlink(missing_ok=True)
    form = find_compression(file.read(MAGIC_BYTES))
    assert form is not None
    file.seek(0)
    LOGGER.info("decompressing %s", path)
    digest, size = hashlib.sha256(), 0

    def decompress() -> Iterator[bytes]:
        nonlocal size
        for chunk in decompress_file(file, form):
            size += len(chunk)
            if size > limits.decompressed_bytes:
                raise FormatError(
                    f"{path}: it decompresses to more bytes than Limits.decompressed_bytes allows "
                    f"({limits.decompressed_bytes})"
                )
            digest.update(chunk)
            yield chunk

    try:
        write_file(target, decompress())
    except FormatError:
        raise
    except ValueError as error:
        raise DamageError(f"{path}: {error}", shard=path.name) from error
    return _record_copy(target, size, digest.hexdigest())


def _find_unchanged(path: Path) -> Copy | None:
    """Return the copy at `path` if nobody has written to it; None if it is to be checked or made."""
    record, found = _read_record(path), _stat(path)
    if record is None or found is None:
        return None
    unchanged = (found.st_size, found.st_mtime_ns, found.st_ino) == (record.bytes, record.mtime_ns, record.inode)
    return Copy(path, record.bytes, record.sha256) if unchanged else None


def _check_copy(path: Path) -> Copy | None:
    """Return the copy at `path` if its bytes are those that were written; None if it is to be made."""
    if (copy := _find_unchanged(path)) is not None:
        return copy
    record, found = _read_record(path), _stat(path)
    if record is None or found is None:
        return None
    if found.st_size == record.bytes and hash_file(path) == record.sha256:
        return _record_copy(path, record.bytes, record.sha256)
    LOGGER.warning("%s is damaged; it is made again", path)
    return None


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def _read_record(path: Path) -> _Record | None:
    """Return the record of the copy at `path`; None if there is none, or it is damaged."""
    try:
        document = decode_json(path.with_suffix(".json").read_bytes())
        record: _Record = load_value(_Record, document["record"], "record")
    except (FileNotFoundError, FormatError, KeyError, TypeError):
        return None
    return record if document.get("hash") == hash_canonical(asdict(record)) else None


def _record_copy(path: Path, size: int, sha256: str) -> Copy:
    found = path.stat()
    record = asdict(_Record(size, sha256, found.st_mtime_ns, found.st_ino))
    document = {"hash": hash_canonical(record), "record": record}
    with suppress(FileNotFoundError):  # somebody empties the folder
        write_file(path.with_suffix(".json"), [encode_canonical(document)])
    return Copy(path, size, sha256)


def _read_note(path: Path) -> str | None:
    """Return the sha256 in a note; a wrong one names no copy."""
    try:
        text = path.read_text("ascii", "replace")
    except FileNotFoundError:
        return None
    return text if SHA256.fullmatch(text) else None


def _identify(file: BinaryIO) -> tuple[int, int, int, int]:
    found = os.fstat(file.fileno())
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """Wait for a lock, which ends with its process, and hold it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
        yield
    finally:
        os.close(descriptor)
