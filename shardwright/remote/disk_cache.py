"""Cache files by their sha256 in a folder that several processes share, with a limit on its size.

A reader holds a shared `flock` on a file as long as it is open; removing a file needs the exclusive lock, and where
it is refused the file stays. A download holds the exclusive lock on its `.partial` file, whose name has its full size.
The kernel releases the locks of a process that dies, so that the remains of a killed download are recognized by their
missing lock. Changes of the folder's content are made under one more lock, on `.lock`.

Layout: `<sha256>` whole files, `<sha256>.<bytes>.partial` downloads in progress, `.lock`. Files are not synced to
disk: one that a crash left incomplete is noticed when it is opened.
"""

import errno
import fcntl
import hashlib
import logging
import os
import random
import re
import shutil
import stat
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from shardwright.remote.cache_folder import claim_folder, find_default_folder

OBJECT_NAME = re.compile(r"[0-9a-f]{64}")
PARTIAL_NAME = re.compile(r"[0-9a-f]{64}\.([0-9]{1,19})\.partial")
FIRST_POLL_SECONDS, LAST_POLL_SECONDS = 0.005, 0.2
"""Between two checks of another process or thread, at first and after a second of waiting."""
CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EBADF)

logger = logging.getLogger(__name__)

Pause = Callable[[float], None]
"""Sleeps so many seconds, or raises a `ClosedError` to end the waiting."""


class ClosedError(ValueError):
    """The caller no longer needs the file."""


@dataclass(frozen=True)
class CacheItem:
    """A requested file: its sha256, its size in bytes, and its name for messages."""

    sha256: str
    bytes: int
    name: str


@dataclass(frozen=True)
class WaitOptions:
    """How to wait for other threads and processes.

    Attributes:
        pause: see `Pause`.
        room_seconds: the longest wait for room in which no file is added, removed or opened.
        seconds: the longest wait of any kind.
    """

    pause: Pause
    room_seconds: float
    seconds: float


class LeaseHolder(Protocol):
    """Holds open files that it may not need any more."""

    def release_idle(self) -> None:
        """Release the files that are not being read at this moment."""


LEASE_HOLDERS: "weakref.WeakSet[LeaseHolder]" = weakref.WeakSet()
"""All lease holders of this process; they release idle files when the cache has no room."""


class ShardCache:
    """The cache in a folder, which any number of objects, threads and processes may share.

    Args:
        folder: created with mode 0700 where it is missing; by default `$XDG_CACHE_HOME/shardwright`, or
            `~/.cache/shardwright`.
        limit_bytes: of all files in the folder together, downloads in progress with their full size; None for no limit.
            Each object applies its own limit.

    Raises:
        PermissionError: the folder or a link to it is another user's, or others may write to it.
        NotADirectoryError: it is not a folder.
    """

    def __init__(self, folder: str | Path | None = None, limit_bytes: int | None = None) -> None:
        self.folder = claim_folder(find_default_folder() if folder is None else Path(folder))
        self.limit_bytes = limit_bytes
        self._verified: dict[str, tuple[int, int, int, int]] = {}  # identity of each file when its sha256 was checked
        self._busy: set[tuple[int, str]] = set()  # (process, sha256) of files that a thread is hashing
        with suppress(BlockingIOError), self._locked(_never_wait):  # the holder of the lock cleans up
            self._measure()

    def find(self, item: CacheItem) -> Path:
        """Return the path that the file has in the cache."""
        return self.folder / item.sha256

    def open(self, item: CacheItem, fetch: Callable[[Path, int], None], waiting: WaitOptions) -> int:
        """Return a descriptor of the whole file, checked, with a lock that keeps it in the folder until it is closed.

        The sha256 is checked when this object opens a file for the first time, and again where inode, size or mtime
        have changed.

        Args:
            item: the file.
            fetch: writes and checks the file, given its path and a descriptor of it that is open for writing.
            waiting: how long to wait for others.

        Raises:
            OSError: there is no room, on the disk or within the limit; or an error of `fetch` or `pause`.
            TimeoutError: another process has held the file for too long.
        """
        started = changed = time.monotonic()
        seen, delay = 0, FIRST_POLL_SECONDS
        while (descriptor := self._open_whole(item, waiting.pause)) is None:
            claim = self._claim(item, waiting.pause)
            if isinstance(claim, int):
                return self._download(item, claim, fetch, waiting.pause)
            now = time.monotonic()
            if isinstance(claim, Contention):
                if claim.under_way or claim.state != seen:  # others make progress, and will make room
                    seen, changed = claim.state, now
                if now - changed > waiting.room_seconds or now - started > waiting.seconds:
                    raise OSError(errno.ENOSPC, self._explain_contention(item, claim))
                for holder in list(LEASE_HOLDERS):
                    holder.release_idle()
            elif now - started > waiting.seconds:
                waited = f"another process has held it for {now - started:.0f} s"
                raise TimeoutError(f"{self.find(item)}: {waited}; {item.name} is needed")
            waiting.pause(delay * random.uniform(0.5, 1.5))
            delay = min(1.5 * delay, LAST_POLL_SECONDS)
        return descriptor

    def _open_whole(self, item: CacheItem, pause: Pause) -> int | None:
        """Open the file with a shared lock; return None if it is missing, being removed, or was damaged and removed."""
        path = self.find(item)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EMLINK):  # EMLINK on FreeBSD
                raise
            logger.warning("%s: removed a link from the cache, fetching %s", path, item.name)
            self._remove(path, path.lstat(), pause)
            return None
        try:
            if self._lock(descriptor, fcntl.LOCK_SH) and os.fstat(descriptor).st_nlink:
                fault = self._check_file(descriptor, item, pause)
                if fault is None:
                    return descriptor
                if fault:
                    logger.warning("%s: %s; fetching %s again", path, fault, item.name)
                    self._remove(path, os.fstat(descriptor), pause)
            os.close(descriptor)
        except BaseException:
            with suppress(OSError):
                os.close(descriptor)
            raise
        return None

    def _check_file(self, descriptor: int, item: CacheItem, pause: Pause) -> str | None:
        """Return the fault of an open file, None where it has none, "" while another thread is checking it."""
        found = os.fstat(descriptor)
        if self._verified.get(item.sha256) != _identify(found):
            busy = (os.getpid(), item.sha256)
            if busy in self._busy:
                return ""
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(
                    errno.EISDIR, "a folder instead of a cached file; remove it", str(self.find(item))
                )
            if not stat.S_ISREG(found.st_mode):
                return "not a file"
            if found.st_size != item.bytes:
                return f"it has {found.st_size} bytes, not {item.bytes}"
            self._busy.add(busy)
            try:
                sha256 = hash_open(descriptor, pause)
            finally:
                self._busy.discard(busy)
            if sha256 != item.sha256:
                return f"its sha256 is {sha256}"
            self._verified[item.sha256] = _identify(found)
        os.utime(descriptor, ns=(time.time_ns(), found.st_mtime_ns))  # atime records the last use
        return None

    def _claim(self, item: CacheItem, pause: Pause) -> "int | Contention | None":
        """Create the `.partial` file, locked and with room for all of it; else return why there is no room.

        None means that the file is there by now, or is being downloaded.
        """
        path = self._find_partial(item)
        with self._locked(pause):
            if os.path.lexists(self.find(item)) or not self._remove_stale(path):
                return None
            contention = self._make_room(item.bytes)
            if contention is not None:
                return contention
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            self._lock(descriptor, fcntl.LOCK_EX)
            return descriptor

    def _download(self, item: CacheItem, descriptor: int, fetch: Callable[[Path, int], None], pause: Pause) -> int:
        path = self._find_partial(item)
        try:
            free = shutil.disk_usage(self.folder).free
            if free < item.bytes:
                raise OSError(errno.ENOSPC, f"{free:,} bytes are free")
            fetch(path, descriptor)
            with self._locked(pause):
                path.rename(self.find(item))
                self._lock(descriptor, fcntl.LOCK_SH)
            self._verified[item.sha256] = _identify(os.fstat(descriptor))
        except BaseException as error:
            path.unlink(missing_ok=True)
            os.close(descriptor)
            if isinstance(error, OSError) and error.errno in FULL:
                what = f"{self.folder}: no room on the disk for {item.bytes:,} bytes of {item.name}: {error.strerror}"
                raise OSError(error.errno, what) from None
            raise
        return descriptor

    def _make_room(self, size: int) -> "Contention | None":
        """Remove the least recently used files until `size` bytes fit; return None, or why they do not fit."""
        if self.limit_bytes is None:
            return None
        objects, under_way = self._measure()
        used = sum(entry.bytes for entry in objects) + under_way
        for entry in sorted(objects):
            if used + size <= self.limit_bytes:
                break
            if self._evict(entry.path):
                used -= entry.bytes
        if used + size <= self.limit_bytes:
            return None
        return Contention(used - under_way, under_way, hash(tuple((entry.path, entry.used) for entry in objects)))

    def _measure(self) -> "tuple[list[Entry], int]":
        """Return the whole files and the bytes of downloads in progress; remove the remains of dead downloads."""
        objects, under_way = [], 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                partial = PARTIAL_NAME.fullmatch(entry.name)
                if partial and not self._remove_stale(Path(entry.path)):
                    under_way += int(partial[1])
                elif OBJECT_NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        objects.append(Entry(found.st_atime_ns, found.st_size, Path(entry.path)))
        return objects, under_way

    def _remove_stale(self, path: Path) -> bool:
        """Remove a `.partial` file that a dead process left; return whether there is none now."""
        return not os.path.lexists(path) or self._evict(path)

    def _evict(self, path: Path) -> bool:
        """Remove a file unless somebody holds it; return whether it is gone."""
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EMLINK):
                return False
            path.unlink(missing_ok=True)
            return True
        try:
            if not self._lock(descriptor, fcntl.LOCK_EX):
                return False
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(descriptor)

    def _remove(self, path: Path, found: os.stat_result, pause: Pause) -> None:
        """Unlink a path if it is still this file; those who have it open keep it."""
        with self._locked(pause), suppress(FileNotFoundError):
            if path.lstat().st_ino == found.st_ino:
                path.unlink()

    @contextmanager
    def _locked(self, pause: Pause) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.folder / ".lock", flags, 0o600)
        except FileNotFoundError:  # the whole cache was deleted; open files stay readable
            descriptor = os.open(claim_folder(self.folder) / ".lock", flags, 0o600)
        try:
            while not self._lock(descriptor, fcntl.LOCK_EX):
                pause(FIRST_POLL_SECONDS)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int, kind: int) -> bool:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in NO_LOCKS:
                what = f"{self.folder}: its file system cannot lock files; choose another folder for the cache"
                raise OSError(error.errno, what) from error
            raise
        return True

    def _find_partial(self, item: CacheItem) -> Path:
        return self.folder / f"{item.sha256}.{item.bytes}.partial"

    def _explain_contention(self, item: CacheItem, contention: "Contention") -> str:
        held = contention.open + contention.under_way
        return (
            f"{self.folder}: no room for the {item.bytes:,} bytes of {item.name}: cache_bytes is {self.limit_bytes:,}, "
            f"readers have {contention.open:,} open and downloads take {contention.under_way:,}; it must be at least "
            f"{held + item.bytes:,}"
        )


@dataclass(frozen=True)
class Contention:
    """Why there is no room in the cache.

    Attributes:
        open: bytes of files that readers have open.
        under_way: bytes of downloads in progress, in full.
        state: a number that changes when a file is added, removed or opened.
    """

    open: int
    under_way: int
    state: int


@dataclass(frozen=True, order=True)
class Entry:
    """A whole file; sorts by last use."""

    used: int
    bytes: int
    path: Path


def hash_open(descriptor: int, pause: Pause) -> str:
    """Return the sha256 of an open file, 64 hex digits."""
    found, offset = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, CHUNK, offset):
        found.update(chunk)
        offset += len(chunk)
        pause(0)
    return found.hexdigest()


def _identify(found: os.stat_result) -> tuple[int, int, int, int]:
    """Return device, inode, size and mtime, which differ for another file and after a write to the same one."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _never_wait(seconds: float) -> None:
    raise BlockingIOError
