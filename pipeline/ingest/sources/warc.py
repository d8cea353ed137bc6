"""Read the responses in WARC files (ISO 28500), as crawlers and web archives write them, also compressed by gzip.

Their bodies are decompressed and unchunked into a tar in the work folder, and are files of their URL, as those of the
stage crawl are.
"""

import os
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.formats.format_errors import FormatFault
from pipeline.formats.tar_entries import ReadAt
from pipeline.formats.urls import BadUrl, canonicalize_url, redact_url
from pipeline.ingest.sources.containers import Container, Member, list_containers, list_members
from pipeline.ingest.sources.source import Source, SourceInputs
from pipeline.ingest.sources.tar import open_tars
from pipeline.inputs.read_file import MAX_FILE_BYTES
from pipeline.tables.blob_store import TarWriter
from pipeline.tables.drops import Drop, Reason, Rejection
from pipeline.tables.item_names import name_url, unescape_name

if TYPE_CHECKING:
    import pyarrow as pa

GZIP = b"\x1f\x8b"
RECORD_END = b"\r\n\r\n"

OTHER_RECORDS = Rejection(Reason.IGNORED, "records of a WARC file that are no responses to http")


def list_warcs(inputs: SourceInputs) -> "Iterator[pa.Table | Drop]":
    """Yield the responses with status 200 in all WARC files; others are refused, and other records counted."""
    for container in list_containers("warc", inputs):
        spool = _Spool(container.path, inputs.spool / f"{container.sha256.hex()}.tar")
        for found in list_members(container, (), spool.copy):
            yield found if isinstance(found, Drop) else _name_responses(container, found, spool.types)
        if spool.others:
            yield replace(container.drop(OTHER_RECORDS), count=spool.others.total())


class _Spool:
    """Copies the bodies in a WARC file into a tar.

    Attributes:
        types: the Content-Type of each body, by its offset in the tar.
        others: the number of records that were passed over, by their type.
    """

    def __init__(self, path: Path, target: Path) -> None:
        self.types: dict[int, str] = {}
        self.others: Counter[str] = Counter()
        self._path = path
        self._target = target

    def copy(self, read_at: ReadAt, size: int) -> Iterator[Member]:
        """Yield the responses by their URLs, with where their bodies are in the tar.

        Raises:
            FormatFault: the file is damaged from here on.
        """
        from warcio.archiveiterator import ArchiveIterator
        from warcio.exceptions import ArchiveLoadFailed

        self._target.unlink(missing_ok=True)
        try:
            with self._path.open("rb") as file, TarWriter(self._target) as tar:
                for record in ArchiveIterator(file, check_digests=True):
                    if record.rec_type == "response" and record.http_headers is not None:
                        yield self._copy_response(record, tar)
                    else:
                        self.others[record.rec_type] += 1
        except (ArchiveLoadFailed, EOFError, zlib.error, ValueError, LookupError, AttributeError) as error:
            raise FormatFault("a WARC file that is damaged from here on") from error
        if _is_cut(self._path):  # warcio ends there without a word
            raise FormatFault("a WARC file that is cut off")

    def _copy_response(self, record: Any, tar: TarWriter) -> Member:
        url = (record.rec_headers.get_header("WARC-Target-URI") or "").strip("<>")
        body = _read_body(record, url)
        if isinstance(body, Rejection):
            return Member(os.fsencode(redact_url(url)), 0, 0, body)
        offset = tar.write(str(len(self.types)), body)
        self.types[offset] = record.http_headers.get_header("Content-Type") or ""
        return Member(canonicalize_url(url).encode(), offset, len(body))


def _is_cut(path: Path) -> bool:
    """Return whether a file ends within a record: within a member of gzip, or without the two empty lines after it."""
    with path.open("rb") as file:
        if file.read(2) != GZIP:
            file.seek(-min(len(RECORD_END), path.stat().st_size), os.SEEK_END)
            return file.read() != RECORD_END
        file.seek(0)
        member, data, begun = zlib.decompressobj(wbits=31), b"", False
        while data := data or file.read(1 << 20):
            member.decompress(data, 1 << 20)
            begun = not member.eof
            data = member.unconsumed_tail if begun else member.unused_data
            if not begun:
                member = zlib.decompressobj(wbits=31)
        return begun


def _read_body(record: Any, url: str) -> bytes | Rejection:
    """Return the body of a response, or why it is refused."""
    status = record.http_headers.get_statuscode()
    if status != "200":
        return Rejection(Reason.HTTP_ERROR, "the status of the response", status, "200")
    try:
        canonicalize_url(url)
    except BadUrl as bad:
        return Rejection(Reason.BAD_URL, str(bad))
    if record.rec_headers.get_header("WARC-Truncated"):
        return Rejection(Reason.TRUNCATED_BODY, "the crawler cut it off")
    body: bytes = record.content_stream().read(MAX_FILE_BYTES + 1)
    if len(body) > MAX_FILE_BYTES:
        return Rejection(Reason.TOO_LARGE, "more bytes than a file may have", limit=str(MAX_FILE_BYTES))
    while record.raw_stream.read(1 << 16):
        pass  # the digest is over all of it
    if record.digest_checker.passed is False:
        return Rejection(Reason.BROKEN, "its digest is not the one that the WARC file has")
    return body


def _name_responses(container: Container, found: "pa.Table", types: dict[int, str]) -> "pa.Table":
    """Return the rows with the names that the crawl gives to responses: their host and path."""
    import pyarrow as pa

    prefix = f"{container.file}/" if container.in_folder else ""
    urls = [unescape_name(file.removeprefix(prefix)).decode() for file in found["file"].to_pylist()]
    sources, files = zip(*map(name_url, urls), strict=True)
    columns = {
        "source": sources,
        "file": files,
        "url": urls,
        "content_type": [types[offset] or None for offset in found["offset"].to_pylist()],
    }
    for name, values in columns.items():
        field = found.schema.field(name)
        found = found.set_column(found.schema.get_field_index(name), field, pa.array(values, field.type))
    return found


WARC = Source(list_warcs, open_tars)
