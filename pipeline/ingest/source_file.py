"""A file that came in, from wherever: its name in the ledger, its bytes, and what is said about it."""

from collections.abc import Callable
from dataclasses import dataclass

from pipeline.tables.blob_store import BlobLocation
from pipeline.tables.drops import Rejection
from pipeline.tables.item_names import name_file


@dataclass(frozen=True, slots=True)
class FileAnnotations:
    """What a list or a table says about a file; None where it says nothing. `start` and `end` are seconds."""

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
    """One file. `read` gives its bytes, or why they cannot be had; it may be called more than once.

    `url` and `page` are None for local files; `content_type` is the server's word, which nothing trusts. `place` is
    where its bytes are already, if an earlier stage has them, and `sha256` what `read` holds them to then.
    """

    source: str
    file: str
    read: Callable[[], bytes | Rejection]
    said: FileAnnotations = FileAnnotations()
    url: str | None = None
    page: str | None = None
    content_type: str | None = None
    place: BlobLocation | None = None
    sha256: str | None = None

    @property
    def key(self) -> str:
        """Its name in the ledger."""
        return name_file(self.source, self.file)
