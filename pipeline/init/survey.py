"""Find what is at a path: count all files, and keep the names of a sample of them, so that a huge folder costs one walk
and little memory."""

import heapq
import os
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from pipeline.errors import InputError
from pipeline.init.file_kinds import name_form, name_kind
from pipeline.init.read_table_sample import has_files
from pipeline.inputs.ignored_names import IgnoredNames
from pipeline.inputs.kinds import find_kind
from pipeline.inputs.params import IGNORED

MAX_NAMES = 20_000
"""Files whose names are kept."""

MAX_TABLES = 1_000
MAX_MEMBERS = 200_000
"""Members of an archive that are looked at: a compressed tar must be decompressed as far as that."""


@dataclass
class Survey:
    """What is at a path.

    Attributes:
        root: the folder or archive that `ingest` is to read.
        only: the file that was named, where `root` is its folder.
        names: of files below `root`, sorted: all of them, or a sample such that files with one stem are all in it or
            none. Tables, and files of a Kaldi folder, are all in it.
        counts: of all files by ending (`.png`), and their bytes.
        archives: files of the folder that are archives.
        remarks: what was left out, or not looked at, a line each.
    """

    root: Path
    only: str | None = None
    names: list[str] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    archives: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Return the number of all files."""
        return self.counts.total()

    @property
    def is_sampled(self) -> bool:
        """Return whether `names` lacks some files."""
        return len(self.names) < self.total

    @property
    def is_folder(self) -> bool:
        """Return whether `root` is a folder."""
        return self.root.is_dir()

    def list_kind(self, *kinds: str) -> list[str]:
        """Return the names of the files of these kinds."""
        return [name for name in self.names if name_kind(name) in kinds]

    def list_media(self) -> list[str]:
        """Return the names of the files of all modalities."""
        return self.list_kind("image", "audio", "text", "video")


class _Sampler:
    """Keeps the names whose stems have the smallest hashes: whole stems, without preference for a folder."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str]] = []
        self._always: list[str] = []

    def add(self, name: str) -> None:
        path = PurePosixPath(name)
        if len(self._always) < MAX_TABLES and name_kind(name) == "table":
            self._always.append(name)
            return
        entry = (-zlib.crc32(os.fsencode(path.name.partition(".")[0])), name)
        if len(self._heap) < MAX_NAMES:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    def list_names(self) -> list[str]:
        return sorted([*self._always, *(name for _, name in self._heap)])


def survey(path: Path) -> Survey:
    """Look at a folder, an archive, or the folder of a table.

    Raises:
        InputError: the path is missing, is neither, or cannot be read; the message names it.
    """
    if not path.exists():
        raise InputError(f"{path} is missing: name a folder, an archive, a table or a list of URLs")
    if not path.is_dir() and find_kind(path.name) not in ("zip", "tar") and not has_files(path):
        if name_kind(path.name) not in ("table", "text", "transcript"):
            raise InputError(f"{path} is no folder, archive, table or list of URLs: name the folder that it is in")
        found = Survey(path.parent, only=path.name)
    else:
        found = Survey(path)
    sampler = _Sampler()
    ignore = IgnoredNames(IGNORED)
    files = _walk(found, ignore) if found.is_folder else _list_members(path, found)
    for name, size in files:
        found.counts[name_form(name)] += 1
        found.sizes[name_form(name)] += size
        sampler.add(name)
    found.names = sampler.list_names()
    for pattern, count in ignore.list_counts():
        found.remarks.append(f"{count} called {pattern} (ingest.ignore)")
    return found


def _walk(found: Survey, ignore: IgnoredNames) -> Iterator[tuple[str, int]]:
    """Yield the path and the size of each file below the root, those in its archives too."""
    links = 0
    for folder, folders, files in os.walk(found.root):
        links += sum(Path(folder, name).is_symlink() for name in folders)
        folders[:] = sorted(name for name in folders if not ignore.match(name))
        for name in sorted(files):
            if ignore.match(name):
                continue
            path = Path(folder, name)
            inner = path.relative_to(found.root).as_posix()
            try:
                size = path.stat().st_size
            except OSError:
                found.remarks.append(f"{inner}, which cannot be read")
                continue
            if find_kind(name) in ("zip", "tar"):
                found.archives.append(inner)
                yield from ((f"{inner}/{member}", bytes_) for member, bytes_ in _list_members(path, found))
            else:
                yield inner, size
    if links:
        found.remarks.append(f"{links} links to folders (ingest.links: follow reads them)")


def _list_members(path: Path, found: Survey) -> Iterator[tuple[str, int]]:
    try:
        count = 0
        for count, member in enumerate(_open_members(path), start=1):
            if count > MAX_MEMBERS:
                found.remarks.append(f"what {path.name} has beyond {MAX_MEMBERS} members was not looked at")
                return
            yield member
    except (OSError, zipfile.BadZipFile, tarfile.TarError, EOFError, zlib.error) as error:
        raise InputError(f"{path} cannot be read as an archive: {error}") from error


def _open_members(path: Path) -> Iterator[tuple[str, int]]:
    kind = find_kind(path.name)
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            yield from ((info.filename, info.file_size) for info in archive.infolist() if not info.is_dir())
    elif kind == "parquet":
        yield path.name, path.stat().st_size
    elif kind == "tar" and not path.name.lower().endswith((".zst", ".tzst")):
        with tarfile.open(path) as tar:
            yield from ((info.name.removeprefix("./"), info.size) for info in tar if info.isfile())
