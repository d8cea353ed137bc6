"""Read the files of a local folder, and the table in which a user annotates them."""

import math
import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from unicodedata import normalize

from pipeline.errors import InputError
from pipeline.formats.tabular import BadRow, TextRow, read_rows
from pipeline.ingest.sources.source import FileAnnotations, Source, SourceFile, SourceInputs
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name, name_file

ORIGIN = "folder"
"""The `source` of local files: not the folder's name, so that it may move."""

MAX_FILE_BYTES = 1 << 30
"""Files are read as a whole, here and in every stage after."""

TEXT_COLUMNS = ("caption", "label", "group", "split", "licence", "attribution", "language", "sample")
SPAN_COLUMNS = ("start", "end")


def list_folder(inputs: SourceInputs) -> Iterator[SourceFile | Drop]:
    """Yield all files below `ingest.root`, with the annotations of `ingest.table`, and a drop for anything else there:
    links that lead out or nowhere, FIFOs, sockets, devices, and the table itself.

    A link to a file below the root counts as a file; links to folders are not followed, as they may form a loop.

    Raises:
        InputError: the root is missing or is not a folder, or the table cannot be used.
    """
    root, table = Path(inputs.params.root), inputs.params.table
    if not root.is_dir():
        raise InputError(f"ingest.root is {root}, which is not a folder: create it, or name the folder of your files")
    found = list(_find_files(root.resolve(), frozenset(inputs.params.ignore)))
    if table is None:
        yield from found
        return
    found = [file for file in found if isinstance(file, Drop) or file.file != table]
    annotations = read_annotations(root, table, {file.file for file in found if isinstance(file, SourceFile)})
    yield Drop(name_file(ORIGIN, table), Reason.USED_AS_TABLE, "the table of annotations", setting="ingest.table")
    for file in found:
        if isinstance(file, SourceFile) and file.file in annotations:
            file = replace(file, annotations=annotations[file.file])
        yield file


def explain_empty_folder(inputs: SourceInputs) -> str:
    """Return what to do if the folder has no files."""
    return f"{inputs.params.root} has no files: put some there, or set ingest.root to the folder that has them"


def _find_files(root: Path, ignore: frozenset[str]) -> Iterator[SourceFile | Drop]:
    for entry in _walk(root, ignore):
        if isinstance(entry, Drop):
            yield entry
            continue
        path = Path(entry.path)
        file = _name(path, root)
        target = path if entry.is_file(follow_symlinks=False) else _resolve_link(path, root)
        if isinstance(target, Rejection):
            yield target.drop(name_file(ORIGIN, file), "ingest")
        else:
            yield SourceFile(ORIGIN, file, partial(read_file, str(target)))  # a Path takes four times as much memory


def _walk(root: Path, ignore: frozenset[str]) -> Iterator[os.DirEntry[str] | Drop]:
    """Yield everything below `root` except folders, and a drop for each folder that cannot be listed."""
    folders = [root]
    while folders:
        folder = folders.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            yield Drop(name_file(ORIGIN, _name(folder, root) + "/"), Reason.UNREADABLE, "the folder cannot be listed")
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


def read_annotations(root: Path, table: str, files: Collection[str]) -> dict[str, FileAnnotations]:
    """Return the annotations of the table at `root/table` by file. Any error in it stops the run: the user can fix it.

    Raises:
        InputError: the table or its column `file` is missing; a row cannot be read, names a file that is not among
            `files`, or one that an earlier row names; a time is not a number of seconds. The message has file and line.
    """
    annotations: dict[str, FileAnnotations] = {}
    missing = []
    composed = {normalize("NFC", file): file for file in sorted(files)}  # file systems use either form
    for row in read_rows(root / table, ["file"], [*TEXT_COLUMNS, *SPAN_COLUMNS]):
        line = f"{table}:{row.line}"
        if isinstance(row, BadRow):
            raise InputError(f"{line}: {row.detail}")
        file = row.values["file"]
        if file is None:
            raise InputError(f"{line}: the column `file` is empty")
        if file not in files:
            file = composed.get(normalize("NFC", file), file)
        if file in annotations:
            raise InputError(f"{line}: {file!r} has an earlier row; a file has one row")
        if file not in files:
            missing.append(f"{line}: {file!r}")
        annotations[file] = _parse_row(row, line)
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise InputError(f"ingest.table names files that are not in {root}: {'; '.join(missing[:3])}{more}")
    return annotations


def _parse_row(row: TextRow, line: str) -> FileAnnotations:
    start, end = (_read_seconds(row, name, line) for name in SPAN_COLUMNS)
    if end is not None and end <= (start or 0.0):
        raise InputError(f"{line}: `end` must be after `start`")
    return FileAnnotations(**{name: row.values[name] for name in TEXT_COLUMNS}, start=start, end=end)


def _read_seconds(row: TextRow, name: str, line: str) -> float | None:
    text = row.values[name]
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{line}: `{name}` is {text!r}, it must be a number of seconds")
    return seconds


FOLDER = Source(list_folder, explain_empty_folder)
