"""Read the files in zips."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.zip_entries import list_zip_entries, read_zip_entry
from pipeline.ingest.sources.containers import OpenContainers, list_containers, list_members
from pipeline.ingest.sources.source import ListedFile, ReadFile, ReadInputs, Source, SourceInputs
from pipeline.tables.drops import Drop, Reason, Rejection

if TYPE_CHECKING:
    import pyarrow as pa


def list_zips(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the members of all zips; see `list_members`."""
    for container in list_containers("zip", inputs):
        yield from list_members(container, inputs.params.ignore, list_zip_entries)


@contextmanager
def open_zips(inputs: ReadInputs) -> Iterator[ReadFile]:
    """Yield how a member is read, and checked against its crc32."""
    with OpenContainers(inputs) as containers:

        def read(file: ListedFile) -> bytes | Rejection:
            assert file.offset is not None, file.key
            try:
                return read_zip_entry(containers.find(file), file.offset)
            except FormatFault as fault:
                return Rejection(Reason.UNREADABLE, str(fault))
            except OSError:
                return Rejection(Reason.UNREADABLE, "the archive cannot be read")

        yield read


ZIP = Source(list_zips, open_zips)
