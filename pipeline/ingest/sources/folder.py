"""Read the files of a local folder; `annotate_files` reads the table in which a user annotates them."""

import os
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.ingest.sources.annotate_files import ORIGIN, annotate_files
from pipeline.ingest.sources.source import ListedFile, ReadFile, ReadInputs, Source, SourceInputs, build_listing
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name, name_file, unescape_name

if TYPE_CHECKING:
    import pyarrow as pa

MAX_FILE_BYTES = 1 << 30
"""Files are read as a whole, here and in every stage after."""

BATCH_FILES = 20_000


def list_folder(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield all files below `ingest.root`, and a drop for anything else there: links that lead out or nowhere, FIFOs,
    sockets, devices, and the table of annotations.

    A link to a file below the root counts as a file; links to folders are not followed, as they may form a loop.

    Raises:
        InputError: the root is missing or is not a folder.
    """
    root, table = Path(inputs.params.root), inputs.params.table
    if not root.is_dir():
        raise InputError(f"ingest.root is {root}, which is not a folder: create it, or name the folder of your files")
    if table is not None:
        yield Drop(name_file(ORIGIN, table), Reason.USED_AS_TABLE, "the table of annotations", setting="ingest.table")
    walk = _Walk(root.resolve(), frozenset(inputs.params.ignore), table)
    for _ in walk.list_folders():
        yield from walk.drops
        walk.drops.clear()
        if len(walk.files) >= BATCH_FILES:
            yield walk.build_listing()
    if walk.files:
        yield walk.build_listing()


def explain_empty_folder(inputs: SourceInputs) -> str:
    """Return what to do if the folder has no files."""
    return f"{inputs.params.root} has no files: put some there, or set ingest.root to the folder that has them"


class _Walk:
    """A walk through all folders below `root`, and what it has found since it was last asked.

    Attributes:
        files: names of files.
        drops: rows for what is no file.
    """

    def __init__(self, root: Path, ignore: Collection[str], table: str | None) -> None:
        self.files: list[str] = []
        self.drops: list[Drop] = []
        self._sizes: list[int] = []
        self._links: list[str | None] = []
        self._root = root
        self._ignore = ignore
        self._table = table

    def list_folders(self) -> Iterator[None]:
        """List all folders; yield now and then, so that what was found can be taken."""
        folders = [(os.fspath(self._root), "")]
        while folders:
            folder, prefix = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    while chunk := list(islice(entries, BATCH_FILES)):
                        folders += self._sort_out(chunk, prefix)
                        yield
            except OSError:
                self.drops.append(
                    Drop(name_file(ORIGIN, prefix or "./"), Reason.UNREADABLE, "the folder cannot be listed")
                )
                yield

    def _sort_out(self, entries: Sequence[os.DirEntry[str]], prefix: str) -> list[tuple[str, str]]:
        """Add the files among the entries of a folder; return the folders, each with the start of its files' names."""
        folders = []
        for entry in entries:
            name = entry.name
            if name in self._ignore:
                continue
            plain = name.isascii() and name.isprintable() and "\\" not in name
            file = prefix + (name if plain else escape_name(os.fsencode(name)))
            if entry.is_file(follow_symlinks=False):
                if file != self._table:
                    self._add(file, entry, None)
            elif entry.is_dir(follow_symlinks=False):
                folders.append((entry.path, f"{file}/"))
            elif file != self._table:
                self._add_link(file, entry)
        return folders

    def _add(self, file: str, entry: os.DirEntry[str], link: str | None) -> None:
        try:
            size = entry.stat().st_size
        except OSError:
            size = 0  # it is gone, which reading it shows
        self.files.append(file)
        self._sizes.append(size)
        self._links.append(link)

    def _add_link(self, file: str, entry: os.DirEntry[str]) -> None:
        target = _resolve_link(Path(entry.path), self._root)
        if isinstance(target, Rejection):
            self.drops.append(target.drop(name_file(ORIGIN, file), "ingest"))
        else:
            self._add(file, entry, escape_name(os.fsencode(target.relative_to(self._root))))

    def build_listing(self) -> "pa.Table":
        """Return the files found so far as rows of the listing, and forget them."""
        columns = {"source": [ORIGIN] * len(self.files), "file": self.files, "size": self._sizes, "link": self._links}
        self.files, self._sizes, self._links = [], [], []
        return build_listing(columns)


def _resolve_link(path: Path, root: Path) -> Path | Rejection:
    """Return the regular file that `path` leads to, or why there is none. Opens nothing: a FIFO waits for a writer."""
    try:
        target = path.resolve(strict=True)
        mode = target.lstat().st_mode
    except (OSError, RuntimeError):  # RuntimeError: a loop of links
        return Rejection(Reason.NOT_A_FILE, "a link to nothing")
    if not target.is_relative_to(root):
        return Rejection(Reason.NOT_A_FILE, "a link to something outside the folder", setting="root")
    if stat.S_ISREG(mode):
        return target
    kinds = {stat.S_IFDIR: "a link to a folder", stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket"}
    return Rejection(Reason.NOT_A_FILE, kinds.get(stat.S_IFMT(mode), "a device"))


def read_file(path: str | Path) -> bytes | Rejection:
    """Return the bytes of a regular file in one consistent state: one that changes while it is read is read again."""
    for _ in range(2):
        content = _read_once(path)
        if content is not None:
            return content
    return Rejection(Reason.CHANGED_WHILE_READ, "the file changed during each of two reads")


def _read_once(path: str | Path) -> bytes | Rejection | None:
    """Return None if the file changed meanwhile."""
    try:
        # The file may have been replaced since it was listed: do not follow a link, do not wait for a FIFO.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return Rejection(Reason.UNREADABLE, "the file cannot be opened")
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            return Rejection(Reason.NOT_A_FILE, "no longer a regular file")
        if before.st_size > MAX_FILE_BYTES:
            limit = str(MAX_FILE_BYTES)
            return Rejection(Reason.TOO_LARGE, "more bytes than a file may have", str(before.st_size), limit)
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
    """Read all of a file that had `size` bytes when it was opened, at most a byte more.

    Without a file object, whose creation takes as long as the reading.
    """
    content = os.read(handle, size + 1)
    while 0 < len(content) < size and (more := os.read(handle, size + 1 - len(content))):
        content += more
    return content


@contextmanager
def open_folder(inputs: ReadInputs) -> Iterator[ReadFile]:
    """Yield how a file of the folder is read."""
    root = os.fspath(inputs.root)

    def read(file: ListedFile) -> bytes | Rejection:
        name = file.file if file.link is None else file.link
        if "\\" in name:
            name = os.fsdecode(unescape_name(name))
        return read_file(f"{root}/{name}")

    yield read


FOLDER = Source(list_folder, open_folder, explain_empty_folder, annotate_files)
