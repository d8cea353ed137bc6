"""Store the files of the cache: objects of some megabytes, each with its rows beside it, written elsewhere and renamed.

An object is a *pack*, written by a task for the items that it has finished, or a file that a stage published, under a
second name on the same disk (a copy if that is impossible). The rows are renamed after the object: an object with rows
is complete. Nothing is ever opened for writing under its final name.
"""

import errno
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.incremental.pack_index import (
    Array,
    DamagedError,
    Entry,
    PackIndex,
    decode_entries,
    decode_rows,
    encode_rows,
    lay_out,
)
from pipeline.runtime.stopwatch import clock

PACK = ".pack"
ROWS = ".rows"

CANNOT_LINK = (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP, errno.EACCES, errno.ENOSYS)
"""Errors of `link` if a file can have no second name: another disk, a file system without hard links, another user's
file, too many names."""


class ObjectStore:
    """The objects under `<cache>/objects/`. Safe for several processes at once.

    `work` is a folder on the same file system for unfinished files; a stage empties its own when it starts, so a killed
    run leaves nothing behind.
    """

    def __init__(self, cache: Path, work: Path) -> None:
        self.folder = cache / "objects"
        self.work = work

    def find_path(self, name: str) -> Path:
        """Return the object's path, whether it exists or not."""
        return self.folder / name

    def list_names(self) -> list[str]:
        """Return the names of the objects that have rows, sorted; published files after packs."""
        names = [path.name.removesuffix(ROWS) for path in self.folder.glob(f"*{ROWS}")]
        return sorted(names, key=lambda name: (not name.endswith(PACK), name))

    def read_rows(self, name: str) -> PackIndex:
        """Return the rows of an object.

        Raises:
            DamagedError: it is missing or has another size, or its rows are missing or damaged.
        """
        try:
            rows = decode_rows((self.folder / f"{name}{ROWS}").read_bytes())
            size = self.find_path(name).stat().st_size
        except FileNotFoundError as error:
            raise DamagedError from error
        if size != rows.size:
            raise DamagedError
        return rows

    def read_entries(self, name: str) -> Array:
        """Return the entries of an object, without what else its rows hold.

        Raises:
            DamagedError: it is missing or has another size, or its entries are damaged.
        """
        try:
            with (self.folder / f"{name}{ROWS}").open("rb") as file:
                listed, entries = decode_entries(file)
            size = self.find_path(name).stat().st_size
        except FileNotFoundError as error:
            raise DamagedError from error
        if size != listed:
            raise DamagedError
        return entries

    def write_pack(self, entries: Sequence[Entry]) -> str:
        """Store entries with distinct keys as one pack; return its name."""
        with clock("write cache"), self._make_file() as path:
            with path.open("xb") as file:
                for entry in entries:
                    file.writelines(entry.pieces)
            return self.publish_pack(path, lay_out(entries))

    def publish_pack(self, path: Path, rows: PackIndex) -> str:
        """Rename a finished file with these rows to its name as a pack; return the name.

        The name follows from the keys: a task that runs twice writes one pack. Not synced to disk: checksums show what
        a power cut took from a pack, and it is computed again.
        """
        name = hashlib.sha256(rows.entries["key"].tobytes()).hexdigest()[:32] + PACK
        self.folder.mkdir(parents=True, exist_ok=True)
        path.rename(self.find_path(name))
        self._write_rows(name, rows)
        return name

    def adopt(self, name: str, published: Path, rows: PackIndex) -> None:
        """Keep a finished file as the object `name`, in place of an earlier one."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._make_file() as path:
            copy_by_link(published, path)
            path.rename(self.find_path(name))
        self._write_rows(name, rows)

    def remove(self, name: str) -> None:
        """Remove an object, its rows first, so that there never are rows without an object."""
        (self.folder / f"{name}{ROWS}").unlink(missing_ok=True)
        self.find_path(name).unlink(missing_ok=True)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Keep other stages from evicting objects meanwhile."""
        with self._open_lock() as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            yield

    @contextmanager
    def claim(self) -> Iterator[bool]:
        """Lock the cache for this stage alone; yield False, at once, if others hold it."""
        with self._open_lock() as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                alone = True
            except BlockingIOError:
                alone = False
            yield alone

    @contextmanager
    def _open_lock(self) -> Iterator[int]:
        self.folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _write_rows(self, name: str, rows: PackIndex) -> None:
        with self._make_file() as path:
            path.write_bytes(encode_rows(rows))
            path.rename(self.folder / f"{name}{ROWS}")

    @contextmanager
    def _make_file(self) -> Iterator[Path]:
        """Yield the path for a new file in the work folder; the file is removed if it still exists at the end."""
        path = self.work / f"object-{secrets.token_hex(8)}"
        try:
            yield path
        finally:
            path.unlink(missing_ok=True)  # also after a rename to another name of the same file, which does nothing


def copy_by_link(source: Path, target: Path) -> None:
    """Give the file `source` the second name `target`; copy it if that is impossible."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in CANNOT_LINK:
            raise
        shutil.copyfile(source, target)
