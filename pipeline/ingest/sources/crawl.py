"""The files that a crawl brought: every response that it kept."""

import hashlib
from functools import partial
from typing import Any

from pipeline.errors import InputError
from pipeline.ingest.source_file import FileAnnotations, SourceFile
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.blob_store import BlobLocation, TarReader, read_location
from pipeline.tables.contracts import CRAWLED, CRAWLED_FOLDER
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.item_names import name_url
from pipeline.tables.parquet import read_table


def read_crawled(workspace: Workspace, reader: TarReader) -> tuple[list[SourceFile], list[Drop]]:
    """Each kept response as a file, and those that stand for a file which another URL gave already.

    The latter happens where a site is linked by http and by https: the same host and path are the same file, and https
    is believed. (And where two paths differ in escapes of `%`, `/` and `?` alone.)

    Raises:
        InputError: the crawl's table is missing or damaged; or, from reading a file, its bytes are.
    """
    rows = read_table(workspace.data / CRAWLED_FOLDER / "crawl.parquet", CRAWLED)
    found: dict[tuple[str, str], SourceFile] = {}
    drops = []
    for row in sorted(rows, key=lambda row: (not row["url"].startswith("https:"), row["url"])):
        if row["reason"] is not None:
            continue
        incoming = _read_row(row, reader)
        first = found.setdefault((incoming.source, incoming.file), incoming)
        if first is not incoming:
            drops.append(Drop(row["url"], Reason.DUPLICATE, f"the same file name as {first.url}"))
    return list(found.values()), drops


def _read_row(row: dict[str, Any], reader: TarReader) -> SourceFile:
    place = read_location(row)
    source, file = name_url(row["url"])
    return SourceFile(
        source,
        file,
        partial(_read_response, reader, place, row),
        FileAnnotations(row["caption"], row["label"], None, row["split"], row["licence"], row["attribution"]),
        row["url"],
        row["page"],
        row["content_type"],
        place,
        row["sha256"],
    )


def _read_response(reader: TarReader, place: BlobLocation, row: dict[str, Any]) -> bytes:
    data = reader.read(place)
    if hashlib.sha256(data).hexdigest() != row["sha256"]:
        raise InputError(f"{place.tar} is damaged at {row['url']}: remove it and run `dvc repro` again")
    return data
