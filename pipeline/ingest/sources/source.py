"""Define the contract of a source of files: what it lists, and how its files are read. `table` lists the sources."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pipeline.incremental.object_store import ObjectStore
from pipeline.ingest.params import IngestParams
from pipeline.inputs.bucket import Bucket
from pipeline.inputs.locate_inputs import InputFolder
from pipeline.inputs.read_file import locate_file
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.columns import Columns, build_schema
from pipeline.tables.contracts import ANNOTATIONS
from pipeline.tables.drops import Drop, Rejection
from pipeline.tables.item_names import name_file

if TYPE_CHECKING:
    import pyarrow as pa

ANNOTATED: Columns = {"source": "string", "file": "string", **ANNOTATIONS}
"""What a row says of a file. A file may have any number of rows, which are in order."""

LISTED: Columns = {
    "source": "string",  # the file's origin: a host, or `folder`
    "file": "string",  # its path there, escaped
    "size": "int64",  # bytes when it was listed
    "link": "string?",  # the file that it, or its archive, is a link to, if it is one
    "number": "int64?",  # the place of its source in the params; null for the crawl
    "container": "string?",  # the archive that it is in, if it is in one
    "container_sha256": "hash?",
    "member": "int64?",  # its number in the archive
    "url": "string?",  # where it was fetched from; null for local files
    "final_url": "string?",  # the same after redirects
    "page": "string?",  # URL of the page that refers to it; null for local files
    "content_type": "string?",  # the server's header, which nothing relies on
    "tar": "string?",  # where an earlier stage stores the bytes, if it does, from `offset` on
    "offset": "int64?",  # there, or where its archive has them
    "sha256": "hash?",  # of the bytes, where that is known
    "version": "string?",  # of an object at a URL, whose hash is not known: see `pipeline.tables.contracts.LISTED`
}
"""A row of the listing: a file that came in."""


class ListedFile(NamedTuple):
    """What is needed of a row of the listing to read the file and find its items; see `LISTED`. `rows` are what was
    said of the file, each with the columns `ANNOTATIONS`, in their order; None: nothing was."""

    source: str
    file: str
    size: int
    link: str | None
    number: int | None
    container: str | None
    container_sha256: bytes | None
    url: str | None
    final_url: str | None
    page: str | None
    content_type: str | None
    tar: str | None
    offset: int | None
    sha256: bytes | None
    version: str | None
    rows: Sequence[Mapping[str, Any]] | None = None

    @property
    def base(self) -> str:
        """The URL that references in it are relative to; empty for local files."""
        return self.final_url or self.url or ""

    @property
    def key(self) -> str:
        """Its key in the dropped table: `folder:animals/owl.png`."""
        return name_file(self.source, self.file)


def build_listing(columns: Mapping[str, Any]) -> "pa.Table":
    """Return rows of the listing from some of its columns, see `fill_columns`."""
    return fill_columns(LISTED, columns)


def fill_columns(table: Columns, columns: Mapping[str, Any]) -> "pa.Table":
    """Return rows of a table from some of its columns, lists or Arrow arrays; the others are null.

    Raises:
        ValueError: the columns differ in length, or one that may not be null is missing.
    """
    import pyarrow as pa

    (count,) = {len(values) for values in columns.values()}
    schema = build_schema(table)
    if missing := [field.name for field in schema if not field.nullable and field.name not in columns]:
        raise ValueError(f"it needs the columns {missing}")
    arrays = [
        pa.array(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


@dataclass(frozen=True)
class SourceInputs:
    """What a source lists files from.

    Attributes:
        containers: what the system said of each archive when it was listed; filled by the sources.
        copies: by name in the item cache, the copies of archives from buckets, with their sha256; filled by the
            sources.
    """

    params: IngestParams
    workspace: Workspace
    containers: dict[Path, tuple[int, ...]] = field(default_factory=dict)
    copies: dict[str, tuple[Path, bytes]] = field(default_factory=dict)

    @property
    def spool(self) -> Path:
        """The folder of what archives decompress to, each under its hash, and of copies of those in buckets."""
        return self.workspace.work.resolve() / "spool"

    @property
    def objects(self) -> ObjectStore:
        """The item cache."""
        return ObjectStore(self.workspace.cache.resolve(), self.workspace.work.resolve())


@dataclass(frozen=True)
class ReadInputs:
    """What a source reads files from, in a worker: the data folder, the folder or bucket of each source, and
    `SourceInputs.spool`."""

    data: Path
    folders: Mapping[int, InputFolder | Bucket]
    spool: Path

    def find_container(self, file: ListedFile) -> Path:
        """Return the archive of a file, or what it was decompressed to."""
        assert file.number is not None, file.key
        assert file.container is not None, file.key
        assert file.container_sha256 is not None, file.key
        spooled = self.spool / f"{file.container_sha256.hex()}.tar"
        if spooled.exists():
            return spooled
        place = self.folders[file.number]
        if isinstance(place, Bucket):
            return name_copy(self.spool, file.container_sha256)
        return Path(locate_file(place.path, file.link or file.container))


def name_copy(spool: Path, sha256: bytes) -> Path:
    """Return the path of the copy of an archive from a bucket."""
    return spool / f"{sha256.hex()}.copy"


ReadFile = Callable[[ListedFile], bytes | Rejection]
"""Returns the bytes of a file, or why they cannot be read; may be called more than once.

Raises:
    InputError: what an earlier stage stored is missing or damaged.
"""


@dataclass(frozen=True)
class Source:
    """A kind of input, such as a folder.

    Attributes:
        list_files: Yields all its files, in any order, as tables with the columns `LISTED` (see `build_listing`), and a
            `Drop` for everything that is refused unopened; nothing if the params name no such input. Raises
            `InputError` if the input cannot be used.
        open_reader: Returns how its files are read, until the context ends.
        explain_nothing: Returns what the user can do if no source has a file; called only then. None where another
            source says it.
        annotate: Yields what the source itself says of its files, as tables with the columns `ANNOTATED`, in order;
            also of files that it does not list.
    """

    list_files: "Callable[[SourceInputs], Iterable[pa.Table | Drop]]"
    open_reader: Callable[[ReadInputs], AbstractContextManager[ReadFile]]
    explain_nothing: Callable[[SourceInputs], str] | None = None
    annotate: "Callable[[SourceInputs], Iterable[pa.Table]] | None" = None
