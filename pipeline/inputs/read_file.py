"""Read and hash files that may change, vanish or be replaced meanwhile."""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.item_names import unescape_name

MAX_FILE_BYTES = 1 << 30
"""Files are read as a whole, here and in every stage after."""

BLOCK_BYTES = 1 << 20

Result = TypeVar("Result")


class FileHash(NamedTuple):
    """The content of a file, and what the system says of the file in that state; times in nanoseconds."""

    sha256: bytes
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


def locate_file(root: str | Path, file: str) -> str:
    """Return the path of a file below `root`, whose name there is escaped."""
    name = os.fsdecode(unescape_name(file)) if "\\" in file else file
    return f"{root}/{name}"


def read_file(path: str | Path, follow: bool = False) -> bytes | Rejection:
    """Return the bytes of a regular file in one consistent state: one that changes while it is read is read again.

    `follow`: the path may be a link.
    """
    return _read_steadily(path, follow, _read_whole)


def hash_file(
    path: str | Path, follow: bool = False, report: Callable[[], None] = lambda: None
) -> FileHash | Rejection:
    """Return the hash of a regular file of any size, read as `read_file` does; `report` is called for each block."""

    def read(handle: int, before: os.stat_result) -> FileHash:
        digest = hashlib.sha256()
        while block := os.read(handle, BLOCK_BYTES):
            digest.update(block)
            report()
        return FileHash(digest.digest(), before.st_size, before.st_mtime_ns, before.st_ctime_ns, before.st_ino)

    return _read_steadily(path, follow, read)


def _read_steadily(
    path: str | Path, follow: bool, read: Callable[[int, os.stat_result], Result | Rejection]
) -> Result | Rejection:
    for _ in range(2):
        content = _read_once(path, follow, read)
        if content is not None:
            return content
    return Rejection(Reason.CHANGED_WHILE_READ, "the file changed during each of two reads")


def _read_once(
    path: str | Path, follow: bool, read: Callable[[int, os.stat_result], Result | Rejection]
) -> Result | Rejection | None:
    """Return None if the file changed meanwhile."""
    try:
        # The file may have been replaced since it was listed: do not follow a link, do not wait for a FIFO.
        flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
        handle = os.open(path, flags)
    except OSError:
        return Rejection(Reason.UNREADABLE, "the file cannot be opened")
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            return Rejection(Reason.NOT_A_FILE, "no longer a regular file")
        try:
            content = read(handle, before)
        except OSError:
            return Rejection(Reason.UNREADABLE, "the file cannot be read")
        after = os.fstat(handle)
    finally:
        os.close(handle)
    return content if _describe_state(before) == _describe_state(after) else None


def _describe_state(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns


def _read_whole(handle: int, before: os.stat_result) -> bytes | Rejection:
    """Read all of a file, or as much as it had when it was opened.

    Without a file object, whose creation takes as long as the reading.
    """
    size = before.st_size
    if size > MAX_FILE_BYTES:
        return reject_size(size)
    content = os.read(handle, size + 1)
    while 0 < len(content) < size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    return content


def reject_size(size: int) -> Rejection:
    """Return the verdict on a file of more than `MAX_FILE_BYTES`."""
    return Rejection(Reason.TOO_LARGE, "more bytes than a file may have", str(size), str(MAX_FILE_BYTES))
