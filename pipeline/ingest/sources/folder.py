"""The files of a local folder: regular ones, below it, whatever their names."""

import os
import stat
from collections.abc import Collection, Iterator
from functools import partial
from pathlib import Path

from pipeline.errors import InputError
from pipeline.ingest.source_file import SourceFile
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name, name_file

SOURCE = "folder"
"""The source of local files: not the folder's name, so that it may move."""

MAX_FILE_BYTES = 1 << 30
"""Files are read as a whole, here and in every stage after."""


def list_folder(root: Path, ignore: Collection[str]) -> tuple[list[SourceFile], list[Drop]]:
    """All files below `root`, and what is none: links that lead out or nowhere, FIFOs, sockets, devices.

    A link to a file below `root` counts as a file; links to folders are not followed, they may lead round in circles.

    Raises:
        InputError: `root` is missing, or no folder.
    """
    if not root.is_dir():
        raise InputError(f"{root} is not a folder: make it, or set ingest.root to the folder with your files")
    root = root.resolve()
    files: list[SourceFile] = []
    drops: list[Drop] = []
    for entry in _walk(root, frozenset(ignore), drops):
        path = Path(entry.path)
        file = _name(path, root)
        target = path if entry.is_file(follow_symlinks=False) else _find_file(path, root)
        if isinstance(target, Rejection):
            drops.append(target.drop(name_file(SOURCE, file)))
        else:
            files.append(SourceFile(SOURCE, file, partial(read_file, str(target))))  # a Path takes four times as much
    return files, drops


def _walk(root: Path, ignore: frozenset[str], drops: list[Drop]) -> Iterator[os.DirEntry[str]]:
    """Everything below `root` but folders."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            key = name_file(SOURCE, _name(folder, root) + "/")
            drops.append(Drop(key, Reason.UNREADABLE, "a folder that cannot be listed"))
            continue
        for entry in entries:
            if entry.name in ignore:
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(Path(entry.path))
            else:
                yield entry


def _name(path: Path, root: Path) -> str:
    return escape_name(os.fsencode(path.relative_to(root)))


def _find_file(path: Path, root: Path) -> Path | Rejection:
    """The regular file that `path` leads to, or what it is instead. Nothing is opened: a FIFO waits for a writer."""
    try:
        target = path.resolve(strict=True)
        mode = target.lstat().st_mode
    except (OSError, RuntimeError):  # RuntimeError: a circle of links
        return Rejection(Reason.NOT_A_FILE, "a link that leads nowhere")
    if not target.is_relative_to(root):
        return Rejection(Reason.NOT_A_FILE, "a link that leads out of ingest.root")
    if stat.S_ISREG(mode):
        return target
    kinds = {stat.S_IFDIR: "a link to a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return Rejection(Reason.NOT_A_FILE, kinds.get(stat.S_IFMT(mode), "a device"))


def read_file(path: str | Path) -> bytes | Rejection:
    """The bytes of a regular file, the same from beginning to end: one that changes meanwhile is read once more."""
    for _ in range(2):
        content = _read_once(path)
        if content is not None:
            return content
    return Rejection(Reason.CHANGED_WHILE_READ, "the file changed while it was read, twice")


def _read_once(path: str | Path) -> bytes | Rejection | None:
    """None: the file changed meanwhile."""
    try:
        # What was a regular file may have become something else: no link is followed, no FIFO waited for.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return Rejection(Reason.UNREADABLE, "the file cannot be opened")
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            return Rejection(Reason.NOT_A_FILE, "no regular file any more")
        if before.st_size > MAX_FILE_BYTES:
            limit = str(MAX_FILE_BYTES)
            return Rejection(Reason.TOO_LARGE, "larger than a file may be", str(before.st_size), limit)
        try:
            content = _read_bytes(handle, before.st_size)
        except OSError:
            return Rejection(Reason.UNREADABLE, "the file cannot be read")
        after = os.fstat(handle)
    finally:
        os.close(handle)
    same = (before.st_size, before.st_mtime_ns) == (after.st_size, after.st_mtime_ns) and len(content) == after.st_size
    return content if same else None


def _read_bytes(handle: int, size: int) -> bytes:
    """All of a file that had `size` bytes a moment ago, or a byte more; without a file object, which costs as much."""
    content = os.read(handle, size + 1)
    while 0 < len(content) < size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    return content
