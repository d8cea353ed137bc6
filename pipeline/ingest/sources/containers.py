"""List the members of the archives in `0_listed`, and open archives for reading."""

import errno
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.errors import InputError
from pipeline.formats.format_errors import FormatFault
from pipeline.formats.tar_entries import ReadAt
from pipeline.ingest.sources.bucket import ListedObject, fetch_archive
from pipeline.ingest.sources.source import ListedFile, ReadInputs, SourceInputs, build_listing
from pipeline.inputs.bucket import Bucket
from pipeline.inputs.ignored_names import IgnoredNames
from pipeline.inputs.kinds import FOLDER
from pipeline.inputs.locate_inputs import locate_inputs
from pipeline.inputs.read_file import MAX_FILE_BYTES, hash_file, locate_file, reject_size
from pipeline.tables.contracts import LISTED, LISTED_FILES
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import escape_name, name_file
from pipeline.tables.table_files import LIST_NAME, read_batches

if TYPE_CHECKING:
    import pyarrow as pa

MAX_OPEN = 64
BATCH_MEMBERS = 20_000

LEAST_TOTAL_BYTES = 1 << 30
MAX_RATIO = 200
"""The members of an archive may have so many times its bytes together, or a GiB. Texts compress to a 20th."""


class Member(NamedTuple):
    """A file in an archive: `offset` is where its kind finds it; or why it is refused."""

    name: bytes
    offset: int
    size: int
    fault: Rejection | None = None


@dataclass(frozen=True)
class Container:
    """An archive of the listing; `path` is what to read, which is not its own file where that is compressed or in a
    bucket."""

    number: int
    source: str
    file: str
    size: int
    sha256: bytes
    link: str | None
    path: Path
    in_folder: bool
    version: str | None

    def drop(self, verdict: Rejection, member: str = "", index: int | None = None) -> Drop:
        """Return the row for the archive, or for a member that is refused, by its place in it."""
        inside = "" if index is None else f"!{member}#{index}"
        return verdict.drop(name_file(self.source, f"{self.file}{inside}"), "ingest")


def list_containers(kind: str, inputs: SourceInputs) -> Iterator[Container]:
    """Yield the archives of a kind.

    Raises:
        InputError: the listing is missing or damaged, or an archive changed since it was listed or cannot be fetched.
    """
    import pyarrow.compute as pc

    folders = locate_inputs(inputs.params)
    sources = inputs.params.list_sources()
    listed = inputs.workspace.data / LISTED_FILES
    names = ["number", "source", "kind", "file", "size", "sha256", "version", "link", "reason"]
    for batch in read_batches(listed, LISTED, names):
        chosen = batch.filter(pc.and_(pc.equal(batch["kind"], kind), pc.is_null(batch["reason"])))
        for row in chosen.to_pylist():
            number = row["number"]
            place, sha256 = folders[number], row["sha256"]
            if isinstance(place, Bucket):
                path, sha256 = fetch_archive(place, ListedObject(row["file"], row["size"], row["version"]), inputs)
            else:
                path = Path(locate_file(place.path, row["link"] or row["file"]))
            inputs.containers[path] = check_container(path, sha256, listed / LIST_NAME)
            facts = (row["source"], row["file"], row["size"], sha256, row["link"])
            yield Container(number, *facts, path, sources[number].kind == FOLDER, row["version"])


def check_container(path: Path, sha256: bytes, listed: Path) -> tuple[int, ...]:
    """Return what the system says of an archive, after a check that it is what was listed: it is hashed again only
    where it may have changed since.

    Raises:
        InputError: it is gone, or its hash is another.
    """
    try:
        state = path.stat()
        changed = max(state.st_mtime_ns, state.st_ctime_ns) >= listed.stat().st_mtime_ns
    except OSError:
        raise InputError(f"{path} is gone since it was listed: run `dvc repro` again") from None
    if changed:
        found = hash_file(path, follow=True)
        if isinstance(found, Rejection) or found.sha256 != sha256:
            raise InputError(f"{path} changed since it was listed: run `dvc repro` again")
    return state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino


def check_unchanged(inputs: SourceInputs) -> None:
    """Check, after all members were read, that no archive changed meanwhile.

    Raises:
        InputError: one did; the message names it.
    """
    for path, before in inputs.containers.items():
        state = path.stat()
        if before != (state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino):
            raise InputError(f"{path} changed while it was read: run `dvc repro` again")


def list_members(
    container: Container,
    ignore: tuple[str, ...],
    find: "Callable[[ReadAt, int], Iterator[Any]]",
    fault: Rejection | None = None,
) -> "Iterator[pa.Table | Drop]":
    """Yield the members that `find` finds, as rows of the listing, and a drop for each that is refused.

    Members that are too large, or together larger than an archive of that size may unpack to, are refused; what is
    ignored is counted. An archive that is damaged from somewhere on, or empty, is a drop, too; `fault`: one is known.
    """
    ignored = IgnoredNames(ignore)
    seen = 0
    faults = [] if fault is None else [fault]
    with container.path.open("rb") as file:
        found = find(make_reader(file.fileno()), os.fstat(file.fileno()).st_size)
        members = enumerate(_check_total(container, _stop_at_fault(found, faults)))
        while chunk := list(islice(members, BATCH_MEMBERS)):
            seen += len(chunk)
            rows, drops = _sort_members(container, chunk, ignored)
            yield from drops
            if rows:
                yield _build_rows(container, rows)
    for pattern, count in ignored.list_counts():
        verdict = Rejection(Reason.IGNORED, "names that are not data", setting="ignore")
        key = name_file(container.source, f"{container.file}!{escape_name(os.fsencode(pattern))}")
        yield Drop(key, verdict.reason, verdict.detail, count=count, setting="ingest.ignore")
    if not seen:
        faults.append(Rejection(Reason.EMPTY, "an archive without files"))
    for first in faults[:1]:
        yield container.drop(first)


def _stop_at_fault(members: Iterator[Any], faults: list[Rejection]) -> Iterator[Any]:
    """Yield the members up to where the archive is damaged, and add that to `faults`."""
    try:
        yield from members
    except FormatFault as fault:
        faults.append(Rejection(Reason.UNREADABLE, str(fault)))
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # of the copy in the work folder, no fault of the archive
            raise
        faults.append(Rejection(Reason.UNREADABLE, "the file cannot be read"))


def _check_total(container: Container, members: Iterator[Any]) -> Iterator[Member]:
    limit = max(LEAST_TOTAL_BYTES, MAX_RATIO * container.size)
    total = 0
    for name, offset, size, fault in members:
        total += size
        if fault is None and size > MAX_FILE_BYTES:
            yield Member(name, offset, size, reject_size(size))
        elif fault is None and total > limit:
            detail = "more bytes than an archive of its size may unpack to"
            yield Member(name, offset, size, Rejection(Reason.TOO_LARGE, detail, str(total), str(limit)))
        else:
            yield Member(name, offset, size, fault)


def _sort_members(
    container: Container, members: list[tuple[int, Member]], ignored: IgnoredNames
) -> tuple[list[tuple[str, int, int, int]], list[Drop]]:
    """Return the file, number, offset and size of each member to read, and a drop for each that is refused."""
    rows, drops = [], []
    for index, member in members:
        name = escape_name(member.name.removeprefix(b"./"))
        if any(map(ignored.match, name.split("/"))):
            continue
        if member.fault is not None:
            drops.append(container.drop(member.fault, name, index))
            continue
        file = f"{container.file}/{name}" if container.in_folder else name
        rows.append((file, index, member.offset, member.size))
    return rows, drops


def _build_rows(container: Container, rows: list[tuple[str, int, int, int]]) -> "pa.Table":
    files, indexes, offsets, sizes = zip(*rows, strict=True)
    count = len(rows)
    columns = {
        "source": [container.source] * count,
        "file": files,
        "size": sizes,
        "number": [container.number] * count,
        "link": [container.link] * count,
        "container": [container.file] * count,
        "container_sha256": [container.sha256] * count,
        "member": indexes,
        "offset": offsets,
    }
    return build_listing(columns)


def make_reader(descriptor: int) -> ReadAt:
    """Return a function that reads an open file at an offset."""

    def read_at(offset: int, size: int) -> bytes:
        content = os.pread(descriptor, size, offset)
        while 0 < len(content) < size and (more := os.pread(descriptor, size - len(content), offset + len(content))):
            content += more
        return content

    return read_at


class OpenContainers:
    """Archives that a worker keeps open; a context manager."""

    def __init__(self, inputs: ReadInputs) -> None:
        self._inputs = inputs
        self._open: OrderedDict[tuple[int | None, str | None], int] = OrderedDict()

    def find(self, file: ListedFile) -> ReadAt:
        """Return how the archive of a file is read.

        Raises:
            OSError: it cannot be opened.
        """
        key = file.number, file.container
        if key in self._open:
            self._open.move_to_end(key)
        else:
            if len(self._open) == MAX_OPEN:
                os.close(self._open.popitem(last=False)[1])
            self._open[key] = os.open(self._inputs.find_container(file), os.O_RDONLY | os.O_CLOEXEC)
        return make_reader(self._open[key])

    def __enter__(self) -> "OpenContainers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        while self._open:
            os.close(self._open.popitem()[1])
