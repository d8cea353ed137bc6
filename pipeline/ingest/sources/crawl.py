"""Read the files that a crawl fetched: every response that it kept."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pipeline.errors import InputError
from pipeline.ingest.sources.source import (
    ANNOTATED,
    ListedFile,
    ReadFile,
    ReadInputs,
    Source,
    SourceInputs,
    build_listing,
    fill_columns,
)
from pipeline.tables.blob_store import BlobLocation, TarReader
from pipeline.tables.columns import read_strings
from pipeline.tables.contracts import ANNOTATIONS, CRAWLED, CRAWLED_FOLDER, LIST_ROWS
from pipeline.tables.item_names import name_url
from pipeline.tables.table_files import read_batches

if TYPE_CHECKING:
    import pyarrow as pa

LISTED_COLUMNS = ("url", "final_url", "page", "content_type", "tar", "offset", "size", "sha256")
"""The columns of the crawl's table that the listing has, too."""


def list_responses(inputs: SourceInputs) -> "Iterator[pa.Table]":
    """Yield the kept responses. Two of them may have the same file name; see `pipeline.ingest.list_files`.

    Raises:
        InputError: the crawl's table is missing or damaged.
    """
    import pyarrow.compute as pc

    for batch in _read_table(inputs, ("reason", *LISTED_COLUMNS)):
        kept = batch.filter(pc.is_null(batch["reason"]))
        names = [name_url(url) for url in read_strings(kept, "url")]
        if names:
            sources, files = zip(*names, strict=True)
            yield build_listing({"source": sources, "file": files} | {name: kept[name] for name in LISTED_COLUMNS})


def annotate_responses(inputs: SourceInputs) -> "Iterator[pa.Table]":
    """Yield what the URL lists say of their URLs.

    Raises:
        InputError: the crawl's table is missing or damaged.
    """
    for batch in read_batches(inputs.workspace.data / CRAWLED_FOLDER / "list_rows", LIST_ROWS):
        names = [name_url(url) for url in read_strings(batch, "url")]
        if names:
            sources, files = zip(*names, strict=True)
            said = {name: batch[name] for name in ANNOTATIONS}
            yield fill_columns(ANNOTATED, {"source": sources, "file": files} | said)


def explain_empty_crawl(inputs: SourceInputs) -> str:
    """Return what to do if the crawl kept no response."""
    counts: Counter[str] = Counter()
    for batch in _read_table(inputs, ("reason",)):
        counts.update(map(str, read_strings(batch, "reason")))
    if not counts:
        return "nothing was crawled: list pages in crawl.start or URL lists in crawl.lists"
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"the crawl kept none of {counts.total()} URLs ({reasons}): raise crawl.refresh to request them again"


def _read_table(inputs: SourceInputs, names: tuple[str, ...]) -> "Iterator[pa.RecordBatch]":
    yield from read_batches(inputs.workspace.data / CRAWLED_FOLDER / "crawl", CRAWLED, names)


@contextmanager
def open_responses(inputs: ReadInputs) -> Iterator[ReadFile]:
    """Yield how a response is read: from the crawl's tars, checked against its hash."""
    with TarReader(inputs.data) as reader:

        def read(file: ListedFile) -> bytes:
            assert file.tar is not None, file.key
            assert file.offset is not None, file.key
            data = reader.read(BlobLocation(file.tar, file.offset, file.size))
            if hashlib.sha256(data).digest() != file.sha256:
                raise InputError(f"{file.tar} is damaged at {file.url}: remove it and run `dvc repro` again")
            return data

        yield read


CRAWL = Source(list_responses, open_responses, explain_empty_crawl, annotate_responses)
