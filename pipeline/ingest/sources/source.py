"""Define the contract of a source of files: what it yields, and how it is called. `table` lists the sources."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from pipeline.ingest.params import IngestParams
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import BlobLocation, TarReader
from pipeline.tables.drops import Drop, Rejection
from pipeline.tables.item_names import name_file


@dataclass(frozen=True, slots=True)
class FileAnnotations:
    """The annotations of a file in a list or a table; None where it has none. `start` and `end` are seconds."""

    caption: str | None = None
    label: str | None = None
    group: str | None = None
    split: str | None = None
    licence: str | None = None
    attribution: str | None = None
    language: str | None = None
    sample: str | None = None
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file that came in.

    Attributes:
        source: The file's origin: a host, or `folder`.
        file: Its path there, escaped; (source, file) is unique.
        read: Returns the bytes, or why they cannot be read; may be called more than once.
        annotations: Those of a list or table.
        url: Where it was fetched from; None for local files.
        page: URL of the page that refers to it; None for local files.
        content_type: The server's header, which nothing relies on.
        location: Where an earlier stage already stores the bytes, if it does.
        sha256: Of the bytes at `location`, which `read` checks.
    """

    source: str
    file: str
    read: Callable[[], bytes | Rejection]
    annotations: FileAnnotations = FileAnnotations()
    url: str | None = None
    page: str | None = None
    content_type: str | None = None
    location: BlobLocation | None = None
    sha256: str | None = None

    @property
    def key(self) -> str:
        """Its key in the dropped table: `folder:animals/owl.png`."""
        return name_file(self.source, self.file)


@dataclass(frozen=True)
class SourceInputs:
    """What a source is given. `reader` reads the tars of earlier stages, and stays open until all files are read."""

    params: IngestParams
    workspace: Workspace
    reader: TarReader


@dataclass(frozen=True)
class Source:
    """A kind of input, such as a folder.

    Attributes:
        list_files: Yields all its files, in any order, and a `Drop` for everything that is refused unopened; nothing if
            the params name no such input. Raises `InputError` if the input cannot be used.
        explain_nothing: Returns what the user can do if no source has a file; called only then.
    """

    list_files: Callable[[SourceInputs], Iterable[SourceFile | Drop]]
    explain_nothing: Callable[[SourceInputs], str]
