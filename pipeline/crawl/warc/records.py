"""Encode records of WARC 1.1 (iipc.github.io/warc-specifications), each as a member of gzip. Pure.

Ids and times come from what was received and when, so that the same responses are the same bytes. Readers of WARC
undo encodings by the headers of a response; bodies are stored without encodings, so headers that would say otherwise
get the prefix that Common Crawl gives them.
"""

import base64
import hashlib
import uuid
import zlib
from collections.abc import Mapping
from datetime import UTC, datetime

from pipeline.crawl.http_request import HttpResponse, Transcript

SPECIFICATION = "http://iipc.github.io/warc-specifications/specifications/warc-format/warc-1.1/"
ORIGINAL = "X-Crawler-"
LEVEL = 6
"""Of the compression; 9 takes longer for images and makes them no smaller."""

HTTP = "application/http; msgtype="
FIELDS = "application/warc-fields"

_ENCODINGS = ("content-encoding", "content-length", "transfer-encoding")


def encode_capture(url: str, response: HttpResponse, transcript: Transcript, via: str | None, cut: bool) -> bytes:
    """Return the records of one exchange: response, request, and where its URL was found.

    `cut` says that the body is only the beginning of what was sent.
    """
    date = format_date(transcript.received)
    head = _fit_headers(transcript.response, len(response.body)).encode("utf-8", "surrogateescape")
    payload = _digest(response.body)
    response_id = _make_id("response", url, date, payload)
    headers = {"WARC-Target-URI": url, "WARC-Payload-Digest": payload}
    if cut:
        headers["WARC-Truncated"] = "length"
    records = [_encode("response", response_id, date, headers, f"{HTTP}response", head, response.body)]
    about = {"WARC-Target-URI": url, "WARC-Concurrent-To": f"<{response_id}>"}
    sent = transcript.request.encode("utf-8", "surrogateescape")
    request_id = _make_id("request", url, date, _digest(sent))
    records.append(_encode("request", request_id, date, about, f"{HTTP}request", sent))
    if via:
        fields = _encode_fields({"via": via})
        metadata_id = _make_id("metadata", url, date, via)
        records.append(_encode("metadata", metadata_id, date, about, FIELDS, fields))
    return b"".join(records)


def encode_info(name: str, agent: str, received: int) -> bytes:
    """Return the record that a file of that name begins with. `received` is the time of its first response."""
    info = {
        "software": "shardwright",
        "format": "WARC File Format 1.1",
        "conformsTo": SPECIFICATION,
        "http-header-user-agent": agent,
        "robots": "obey",
    }
    date, fields = format_date(received), _encode_fields(info)
    record_id = _make_id("warcinfo", name, date, _digest(fields))
    return _encode("warcinfo", record_id, date, {"WARC-Filename": name}, FIELDS, fields)


def format_date(seconds: int) -> str:
    """Return a time in seconds since 1970 as a WARC-Date."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _encode(
    kind: str, record_id: str, date: str, headers: Mapping[str, str], content_type: str, *block: bytes
) -> bytes:
    lines = {
        "WARC-Type": kind,
        "WARC-Record-ID": f"<{record_id}>",
        "WARC-Date": date,
        **headers,
        "WARC-Block-Digest": _digest(*block),
        "Content-Type": content_type,
        "Content-Length": str(sum(map(len, block))),
    }
    packer = zlib.compressobj(LEVEL, zlib.DEFLATED, 31)  # 31: with a gzip header, whose time is 0
    parts = (b"WARC/1.1\r\n", _encode_fields(lines), b"\r\n", *block, b"\r\n\r\n")
    return b"".join([*map(packer.compress, parts), packer.flush()])


def _encode_fields(fields: Mapping[str, str]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in fields.items()).encode()


def _fit_headers(head: str, size: int) -> str:
    """Return a response's status line and headers, and the empty line after them, as they hold for a stored body."""
    status, *lines = head.split("\r\n")
    names = [line.partition(":")[0].strip().lower() for line in lines]
    lengths = [line.partition(":")[2].strip() for line, name in zip(lines, names, strict=True) if name == _ENCODINGS[1]]
    if lengths != [str(size)] or _ENCODINGS[0] in names or _ENCODINGS[2] in names:
        pairs = zip(lines, names, strict=True)
        lines = [f"{ORIGINAL}{line}" if name in _ENCODINGS else line for line, name in pairs]
        lines.append(f"Content-Length: {size}")
    return "\r\n".join([status, *lines, "", ""])


def _digest(*parts: bytes) -> str:
    hashed = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        hashed.update(part)
    return f"sha1:{base64.b32encode(hashed.digest()).decode()}"


def _make_id(*parts: str) -> str:
    return uuid.uuid5(uuid.NAMESPACE_URL, "\n".join(parts)).urn
