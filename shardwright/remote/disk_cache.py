"""A local cache of files that are named by their sha256, for several processes at once, with a limit on its size.

Who reads a file holds a shared `flock` on it for as long as it is open; who removes one asks for the exclusive lock,
and leaves the file where that is refused. A download holds the exclusive lock on its `.partial` file, whose name says
how much room it takes. The kernel drops the locks of a process that dies, so what a killed download left is known by
its missing lock. What changes the folder's accounts is done under one more lock, on `.lock`.

Layout: `<sha256>` whole files, `<sha256>.<bytes>.partial` downloads under way, `.lock`. Files are not synced to disk:
what a crash left half-written is noticed when it is opened.
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
"""Between two looks at what another process or thread is doing, at first and after a second of them."""
CHUNK = 1 << 20
FULL = (errno.ENOSPC, errno.EDQUOT)
NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK, errno.EBADF)

logger = logging.getLogger(__name__)

Pause = Callable[[float], None]
"""Sleeps so many seconds, or raises a `ClosedError`, which ends the waiting."""


class ClosedError(ValueError):
    """Who wanted the file wants it no more."""


@dataclass(frozen=True)
class CacheItem:
    """A file that is wanted: its sha256, its size in bytes, and the name that messages call it by."""

    sha256: str
    bytes: int
    name: str


@dataclass(frozen=True)
class WaitOptions:
    """How to wait for other threads and processes.

    Attributes:
        pause: see `Pause`.
        room_seconds: until waiting for room is given up while no file comes, goes or is opened.
        seconds: until any waiting is.
    """

    pause: Pause
    room_seconds: float
    seconds: float


class LeaseHolder(Protocol):
    """Who holds files that it may not need any more."""

    def release_idle(self) -> None:
        """Let go of the files that are not being read at this moment."""


LEASE_HOLDERS: "weakref.WeakSet[LeaseHolder]" = weakref.WeakSet()
"""Those of this process; asked when there is no room."""


class ShardCache:
    """The cache in a folder. Any number of objects, threads and processes may share the folder.

    Args:
        folder: made with mode 0700 where it is missing; by default `$XDG_CACHE_HOME/shardwright`, or
            `~/.cache/shardwright`.
        limit_bytes: of all files in the folder together, those under way with their full size; None for no limit.
            Each user of the folder keeps to a limit of its own.

    Raises:
        PermissionError: the folder, or the link in its place, is another user's, or others may write to it.
        NotADirectoryError: the folder is none.
    """

    def __init__(self, folder: str | Path | None = None, limit_bytes: int | None = None) -> None:
        self.folder = claim_folder(find_default_folder() if folder is None else Path(folder))
        self.limit_bytes = limit_bytes
        self._verified: dict[str, tuple[int, int, int, int]] = {}  # what each file was when its sha256 was right
        self._busy: set[tuple[int, str]] = set()  # (process, sha256) whose file a thread is rehashing
        with suppress(BlockingIOError), self._locked(_never_wait):  # who holds the lock is tidying up
            self._measure()

    def find(self, item: CacheItem) -> Path:
        """Where the file stands when it is there."""
        return self.folder / item.sha256

    def open(self, item: CacheItem, fetch: Callable[[Path, int], None], waiting: WaitOptions) -> int:
        """A descriptor of the whole file, checked; its lock keeps the file in the folder until it is closed.

        The sha256 is checked when this object opens a file for the first time, and again where the file is not the
        same any more by its inode, size and time of change.

        Args:
            item: what is wanted.
            fetch: writes the file, checked, to a path that is open under a descriptor for writing, or raises.
            waiting: for how long.

        Raises:
            OSError: there is no room, on the disk or within the limit; or what `fetch` and `pause` raise.
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
                if claim.under_way or claim.state != seen:  # others get on, and so there will be room
                    seen, changed = claim.state, now
                if now - changed > waiting.room_seconds or now - started > waiting.seconds:
                    raise OSError(errno.ENOSPC, self._say_crowd(item, claim))
                for keeper in list(LEASE_HOLDERS):
                    keeper.release_idle()
            elif now - started > waiting.seconds:
                raise TimeoutError(f"{item.name}: for {now - started:.0f} s another process has kept {self.find(item)}")
            waiting.pause(delay * random.uniform(0.5, 1.5))
            delay = min(1.5 * delay, LAST_POLL_SECONDS)
        return descriptor

    def _open_whole(self, item: CacheItem, pause: Pause) -> int | None:
        """The file with a shared lock, or None where it is missing, on its way out, or was no good and is gone."""
        path = self.find(item)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.EMLINK):  # EMLINK on FreeBSD
                raise
            logger.warning("%s: a link in the cache is removed, %s is fetched", path, item.name)
            self._remove(path, path.lstat(), pause)
            return None
        try:
            if self._lock(descriptor, fcntl.LOCK_SH) and os.fstat(descriptor).st_nlink:
                wrong = self._judge(descriptor, item, pause)
                if wrong is None:
                    return descriptor
                if wrong:
                    logger.warning("%s: %s; %s is fetched anew", path, wrong, item.name)
                    self._remove(path, os.fstat(descriptor), pause)
            os.close(descriptor)
        except BaseException:
            with suppress(OSError):
                os.close(descriptor)
            raise
        return None

    def _judge(self, descriptor: int, item: CacheItem, pause: Pause) -> str | None:
        """What is wrong with an open file, None where it is right, "" while another thread looks into it."""
        found = os.fstat(descriptor)
        if self._verified.get(item.sha256) != _identify(found):
            busy = (os.getpid(), item.sha256)
            if busy in self._busy:
                return ""
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, "a folder in the cache; remove it", str(self.find(item)))
            if not stat.S_ISREG(found.st_mode):
                return "not a file"
            if found.st_size != item.bytes:
                return f"{found.st_size} bytes, {item.bytes} are wanted"
            self._busy.add(busy)
            try:
                sha256 = hash_open(descriptor, pause)
            finally:
                self._busy.discard(busy)
            if sha256 != item.sha256:
                return f"its sha256 is {sha256}"
            self._verified[item.sha256] = _identify(found)
        os.utime(descriptor, ns=(time.time_ns(), found.st_mtime_ns))  # the time of access is that of the last use
        return None

    def _claim(self, item: CacheItem, pause: Pause) -> "int | Contention | None":
        """The new `.partial` file, locked, with room for the whole; or what is in the way; or None to look again."""
        path = self._find_partial(item)
        with self._locked(pause):
            if os.path.lexists(self.find(item)) or not self._tidy(path):
                return None
            crowd = self._make_room(item.bytes)
            if crowd is not None:
                return crowd
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
        """Remove what was not used for longest until so many bytes fit; what is in the way where they never do."""
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
        """The whole files, and the bytes that downloads under way will take; what dead ones left is removed."""
        objects, under_way = [], 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                partial = PARTIAL_NAME.fullmatch(entry.name)
                if partial and not self._tidy(Path(entry.path)):
                    under_way += int(partial[1])
                elif OBJECT_NAME.fullmatch(entry.name):
                    with suppress(FileNotFoundError):
                        found = entry.stat(follow_symlinks=False)
                        objects.append(Entry(found.st_atime_ns, found.st_size, Path(entry.path)))
        return objects, under_way

    def _tidy(self, path: Path) -> bool:
        """Whether a `.partial` file is not there, or was left by somebody who is no more and is gone now."""
        return not os.path.lexists(path) or self._evict(path)

    def _evict(self, path: Path) -> bool:
        """Remove a file that nobody holds."""
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
        """Take away a name that still stands for this file; who has it open keeps it."""
        with self._locked(pause), suppress(FileNotFoundError):
            if path.lstat().st_ino == found.st_ino:
                path.unlink()

    @contextmanager
    def _locked(self, pause: Pause) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW
        try:
            descriptor = os.open(self.folder / ".lock", flags, 0o600)
        except FileNotFoundError:  # somebody cleared the whole cache away; what is open stays so
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

    def _say_crowd(self, item: CacheItem, crowd: "Contention") -> str:
        held = crowd.open + crowd.under_way
        return (
            f"{self.folder}: no room for the {item.bytes:,} bytes of {item.name}: of the {self.limit_bytes:,} bytes "
            f"that cache_bytes allows, readers have {crowd.open:,} open and downloads take {crowd.under_way:,}; "
            f"{held + item.bytes:,} would do"
        )


@dataclass(frozen=True)
class Contention:
    """What is in the way.

    Attributes:
        open: bytes of files that readers have open.
        under_way: bytes that downloads under way will take.
        state: a number that changes when a file comes, goes or is opened.
    """

    open: int
    under_way: int
    state: int


@dataclass(frozen=True, order=True)
class Entry:
    """A whole file; sorts by its last use."""

    used: int
    bytes: int
    path: Path


def hash_open(descriptor: int, pause: Pause) -> str:
    """The sha256 of an open file, 64 hex digits."""
    found, offset = hashlib.sha256(), 0
    while chunk := os.pread(descriptor, CHUNK, offset):
        found.update(chunk)
        offset += len(chunk)
        pause(0)
    return found.hexdigest()


def _identify(found: os.stat_result) -> tuple[int, int, int, int]:
    """What tells a file from another, and from itself after somebody wrote to it."""
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _never_wait(seconds: float) -> None:
    raise BlockingIOError
