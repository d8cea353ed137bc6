"""Find all files below a folder, without opening any, and say why anything else there is refused."""

import os
import stat
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.inputs.ignored_names import IgnoredNames
from pipeline.inputs.kinds import FOLDER, find_kind
from pipeline.inputs.locate_inputs import match_files, split_pattern
from pipeline.inputs.params import InputParams, SourceParams
from pipeline.inputs.read_file import MAX_FILE_BYTES, reject_size
from pipeline.tables.columns import Columns, build_schema
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.item_names import escape_name

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_FILES = 20_000

MAX_COUNTED = 10_000
"""Entries of folders behind a link that is not followed, to be counted: it may lead to the root of the file system."""

OUTSIDE = "a link to something outside the folder"

STATE: Columns = {"size": "int64?", "mtime_ns": "int64?", "ctime_ns": "int64?", "inode": "int64?"}
"""What the system says of a file: while all of it is the same, so is the content."""

FOUND: Columns = {
    "kind": "string",
    "file": "string",
    **STATE,
    "link": "string?",
    "version": "string?",
    "reason": "string?",
    "detail": "string",
    "value": "string",
    "limit": "string",
    "setting": "string",
    "count": "int64",
}
"""See `pipeline.tables.contracts.LISTED`."""

ACCEPTED = (None, "", "", "", "", 1)
"""The last columns of `FOUND`, from `reason` on, of a file to read."""


class FolderWalk:
    """A walk through all folders below `root`; `root` is without links.

    A link to a file below the root counts as a file, and so does one into the blobs of the Hugging Face cache that the
    root is in. Links to folders and out of the root are followed only where the params say so, and a folder never
    within itself.
    """

    def __init__(self, root: Path, params: InputParams) -> None:
        self._root = root
        self._inside = (root, *_find_blobs(root))
        self._follow = params.links == "follow"
        self._ignored = params.ignore
        self._ignore = IgnoredNames(params.ignore)
        self._rows: list[tuple[Any, ...]] = []

    def list_files(self) -> "Iterator[pa.Table]":
        """Yield everything that is found, in any order, as tables with the columns `FOUND`."""
        folders: list[tuple[str, str, tuple[int, ...]]] = [(os.fspath(self._root), "", ())]
        while folders:
            folder, prefix, above = folders.pop()
            try:
                inside = (*above, _identify(folder)) if self._follow else above
                if len(set(inside)) < len(inside):
                    verdict = Rejection(Reason.NOT_A_FILE, "a link to a folder that it is in")
                    self._refuse(prefix.rstrip("/"), verdict)
                    continue
                with os.scandir(folder) as entries:
                    while chunk := list(islice(entries, BATCH_FILES)):
                        folders += [(path, start, inside) for path, start in self._sort_out(chunk, prefix)]
                        if len(self._rows) >= BATCH_FILES:
                            yield self._take_rows()
            except OSError:
                self._refuse(prefix or "./", Rejection(Reason.UNREADABLE, "the folder cannot be listed"))
        self._rows += map(describe_ignored, self._ignore.list_counts())
        if self._rows:
            yield self._take_rows()

    def _sort_out(self, entries: Sequence[os.DirEntry[str]], prefix: str) -> list[tuple[str, str]]:
        """Add the files among the entries of a folder; return the folders, each with the start of its files' names."""
        folders = []
        for entry in entries:
            name = entry.name
            if self._ignore.match(name):
                continue
            plain = name.isascii() and name.isprintable() and "\\" not in name
            file = prefix + (name if plain else escape_name(os.fsencode(name)))
            if entry.is_dir(follow_symlinks=False) or (self._follow and _is_folder(entry)):
                folders.append((entry.path, f"{file}/"))
            elif entry.is_file(follow_symlinks=False):
                self._add(file, entry, None)
            else:
                self._add_link(file, entry)
        return folders

    def _add(self, file: str, entry: os.DirEntry[str], link: str | None) -> None:
        try:
            state = entry.stat()
        except OSError:  # it is gone
            self._refuse(file, Rejection(Reason.UNREADABLE, "the file cannot be opened"))
            return
        self._rows.append(describe_file(find_kind(file), file, state, link))

    def _add_link(self, file: str, entry: os.DirEntry[str]) -> None:
        target = self._resolve(Path(entry.path))
        if isinstance(target, Rejection):
            outside = target.detail == OUTSIDE and _is_folder(entry)
            self._refuse(file, target, _count_files(entry.path, self._ignored) if outside else 1)
        elif self._follow:
            self._add(file, entry, None)
        else:
            self._add(file, entry, escape_name(os.fsencode(os.path.relpath(target, self._root))))

    def _resolve(self, path: Path) -> Path | Rejection:
        """Return the regular file that a link leads to, or why there is none. Opens nothing: a FIFO waits for a
        writer."""
        try:
            target = path.resolve(strict=True)
            mode = target.lstat().st_mode
        except (OSError, RuntimeError):  # RuntimeError: a loop of links
            return Rejection(Reason.NOT_A_FILE, "a link to nothing")
        if not self._follow and not any(map(target.is_relative_to, self._inside)):
            return Rejection(Reason.NOT_A_FILE, OUTSIDE, setting="links")
        if stat.S_ISREG(mode):
            return target
        if stat.S_ISDIR(mode):
            return Rejection(Reason.NOT_A_FILE, "a link to a folder", setting="links")
        return Rejection(Reason.NOT_A_FILE, _name_type(mode))

    def _refuse(self, file: str, verdict: Rejection, count: int = 1) -> None:
        self._rows.append((*describe_refusal(file, verdict)[:-1], count))

    def _take_rows(self) -> "pa.Table":
        rows, self._rows = self._rows, []
        return build_found(rows)


def _find_blobs(root: Path) -> Iterator[Path]:
    """Yield where the files of a Hugging Face cache are that its `snapshots/<revision>`, which has the root, links to.

    They are all of one repository, as its snapshots are, so links there lead to nothing else of the user's.
    """
    for folder in (root, *root.parents):
        if folder.name == "snapshots" and (folder.parent / "blobs").is_dir():
            yield folder.parent / "blobs"


def _identify(folder: str) -> int:
    """Return what tells a folder from others, whatever path leads to it."""
    state = Path(folder).stat()
    return hash((state.st_dev, state.st_ino))


def _name_type(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def _count_files(folder: str, ignored: Sequence[str]) -> int:
    """Return how many files are below a folder that is not read, at least 1; their names are not kept."""
    ignore, folders = IgnoredNames(ignored), [folder]
    files = seen = 0
    while folders and seen < MAX_COUNTED:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in islice(entries, MAX_COUNTED - seen):
                    seen += 1
                    if entry.is_dir(follow_symlinks=False):
                        folders += [] if ignore.match(entry.name) else [entry.path]
                    else:
                        files += not ignore.match(entry.name)
        except OSError:  # not to be listed
            continue
    return max(files, 1)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def list_matches(source: SourceParams) -> "pa.Table":
    """Return the archives that the path of a source names, as a table `FOUND`."""
    folder, _ = split_pattern(source.path)
    rows = []
    for name in match_files(source):
        file = escape_name(os.fsencode(name))
        try:
            state = (folder / name).stat()
        except OSError:
            rows.append(describe_refusal(file, Rejection(Reason.UNREADABLE, "the file cannot be opened")))
            continue
        if stat.S_ISREG(state.st_mode):
            rows.append(describe_file(source.kind, file, state, None))
        else:
            rows.append(describe_refusal(file, Rejection(Reason.NOT_A_FILE, _name_type(state.st_mode))))
    return build_found(rows)


def describe_file(kind: str, file: str, state: os.stat_result, link: str | None) -> tuple[Any, ...]:
    """Return the row of `FOUND` for a file. Archives may be of any size: they are not read as a whole."""
    if kind == FOLDER and state.st_size > MAX_FILE_BYTES:
        return describe_refusal(file, reject_size(state.st_size))
    known = (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino)
    return (kind, file, *known, link, None, *ACCEPTED)


def describe_refusal(file: str, verdict: Rejection) -> tuple[Any, ...]:
    """Return the row of `FOUND` for what is refused."""
    setting = verdict.name_setting("ingest")
    reason = (str(verdict.reason), verdict.detail, verdict.value, verdict.limit, setting)
    return (FOLDER, file, None, None, None, None, None, None, *reason, 1)


def describe_ignored(found: tuple[str, int]) -> tuple[Any, ...]:
    """Return the row of `FOUND` for a pattern of `ingest.ignore`, and how many names it ignored."""
    pattern, count = found
    verdict = Rejection(Reason.IGNORED, "names that are not data", setting="ignore")
    return (*describe_refusal(escape_name(os.fsencode(pattern)), verdict)[:-1], count)


def build_found(rows: Sequence[tuple[Any, ...]]) -> "pa.Table":
    """Return rows of `FOUND` as a table."""
    import pyarrow as pa

    schema = build_schema(FOUND)
    columns = zip(*rows, strict=True)
    if not rows:
        return schema.empty_table()
    arrays = [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)]
    return pa.Table.from_arrays(arrays, schema=schema)
