"""Read the files that a crawl fetched: every response that it kept."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

from pipeline.errors import InputError
from pipeline.ingest.sources.source import FileAnnotations, Source, SourceFile, SourceInputs
from pipeline.tables.blob_store import BlobLocation, TarReader, read_location
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.item_names import name_url
from pipeline.tables.table_files import read_table


def list_responses(inputs: SourceInputs) -> Iterator[SourceFile | Drop]:
    """Yield each kept response as a file, and a drop for each that has the file name of another URL's response.

    The latter happens where a site is linked by http and by https: the same host and path are the same file, and the
    response by https is kept. It also happens where two paths differ only in escapes of `%`, `/` and `?`.

    Raises:
        InputError: the crawl's table is missing or damaged; or, from reading a file, its bytes are.
    """
    found: dict[tuple[str, str], SourceFile] = {}
    for row in sorted(_read_rows(inputs), key=lambda row: (not row["url"].startswith("https:"), row["url"])):
        if row["reason"] is not None:
            continue
        file = _describe_response(row, inputs.reader)
        first = found.setdefault((file.source, file.file), file)
        if first is file:
            yield file
        else:
            yield Drop(row["url"], Reason.DUPLICATE, f"the same file name as {first.url}", kept_key=first.key)


def explain_empty_crawl(inputs: SourceInputs) -> str:
    """Return what to do if the crawl kept no response."""
    counts = Counter(str(row["reason"]) for row in _read_rows(inputs))
    if not counts:
        return "nothing was crawled: list pages in crawl.start or URL lists in crawl.lists"
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"the crawl kept none of {counts.total()} URLs ({reasons}): raise crawl.refresh to request them again"


def _read_rows(inputs: SourceInputs) -> Iterator[dict[str, Any]]:
    yield from read_table(inputs.workspace.data / CRAWLED_FOLDER / "crawl", CRAWLED)


def _describe_response(row: dict[str, Any], reader: TarReader) -> SourceFile:
    location = read_location(row)
    source, file = name_url(row["url"])
    return SourceFile(
        source,
        file,
        partial(_read_response, reader, location, row),
        FileAnnotations(row["caption"], row["label"], None, row["split"], row["licence"], row["attribution"]),
        row["url"],
        row["page"],
        row["content_type"],
        location,
        row["sha256"],
    )


def _read_response(reader: TarReader, location: BlobLocation, row: dict[str, Any]) -> bytes:
    data = reader.read(location)
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise InputError(f"{location.tar} is damaged at {row['url']}: remove it and run `dvc repro` again")
    return data


CRAWL = Source(list_responses, explain_empty_crawl)
