"""Read the files of a local folder, or the objects of a bucket, as listed."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.ingest.sources.source import ListedFile, ReadFile, ReadInputs, Source, SourceInputs, build_listing
from pipeline.inputs.bucket import Bucket
from pipeline.inputs.kinds import FOLDER as KIND
from pipeline.inputs.read_file import locate_file, read_file
from pipeline.tables.contracts import LISTED, LISTED_FILES
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_file
from pipeline.tables.table_files import read_batches

if TYPE_CHECKING:
    import pyarrow as pa


LISTED_COLUMNS = ("source", "file", "size", "link", "number", "sha256", "version")


def list_folder(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield all files of folders, and a drop for what is refused in any source: links that lead out or nowhere, FIFOs,
    sockets and devices.

    Raises:
        InputError: the listing is missing or damaged.
    """
    import pyarrow.compute as pc

    for batch in read_batches(inputs.workspace.data / LISTED_FILES, LISTED):
        yield from map(_drop_refused, batch.filter(pc.is_valid(batch["reason"])).to_pylist())
        files = batch.filter(pc.and_(pc.is_null(batch["reason"]), pc.equal(batch["kind"], KIND)))
        if files.num_rows:
            yield build_listing({name: files[name] for name in LISTED_COLUMNS})


def _drop_refused(row: dict[str, str]) -> Drop:
    facts = {name: row[name] for name in ("detail", "value", "limit", "count", "setting")}
    return Drop(name_file(row["source"], row["file"]), Reason(row["reason"]), **facts)  # type: ignore[arg-type]


def explain_empty_folder(inputs: SourceInputs) -> str:
    """Return what to do if the folder has no files."""
    if inputs.params.sources:
        return "ingest.sources have no files"
    return f"{inputs.params.root} has no files: put some there, or set ingest.root to the folder that has them"


@contextmanager
def open_folder(inputs: ReadInputs) -> Iterator[ReadFile]:
    """Yield how a file of the folder is read, and held against its hash, or its version, in the listing."""

    def read(file: ListedFile) -> bytes | Rejection:
        assert file.number is not None, file.key
        folder = inputs.folders[file.number]
        if isinstance(folder, Bucket):
            return folder.read(file.file, file.size, file.version or "")
        path = locate_file(folder.path, file.link or file.file)
        for _ in range(2):
            content = read_file(path, folder.follow)
            if isinstance(content, Rejection) or hashlib.sha256(content).digest() == file.sha256:
                return content
        return Rejection(Reason.CHANGED_WHILE_READ, "the file changed since it was listed")

    yield read


FOLDER = Source(list_folder, open_folder, explain_empty_folder)
