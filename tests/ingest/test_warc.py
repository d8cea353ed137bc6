"""WARC files give the items that a crawl of the same responses gives; what they hold besides is counted."""

import gzip
import io
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from warcio.statusandheaders import StatusAndHeaders
from warcio.warcwriter import WARCWriter

from tests.support.ingesting import Ingest, Response, make_image, make_params, run_ingest

# The writer leaves temporary files to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PAGE = b"<h1>Zoo</h1><figure><img src=owl.png><figcaption>an owl</figcaption></figure>"
BODIES = {
    "http://a.test/zoo/": ("text/html", PAGE),
    "http://a.test/zoo/owl.png": ("image/png", make_image(1)),
    "https://b.test/note.txt?x=1": ("text/plain", b"a note"),
}


def write_warc(
    path: Path,
    bodies: Iterable[tuple[str, str, bytes, str]],
    compress: bool = True,
    encode: bool = False,
) -> None:
    with path.open("wb") as file:
        writer = WARCWriter(file, gzip=compress)
        writer.write_record(writer.create_warcinfo_record("x.warc", {"software": "tests"}))
        for url, kind, body, status in bodies:
            headers = [("Content-Type", kind)] + ([("Content-Encoding", "gzip")] if encode else [])
            answer = StatusAndHeaders(status, headers, protocol="HTTP/1.1")
            payload = io.BytesIO(gzip.compress(body, mtime=0) if encode else body)
            writer.write_record(writer.create_warc_record(url, "response", payload=payload, http_headers=answer))


def list_bodies(status: str = "200 OK") -> list[tuple[str, str, bytes, str]]:
    return [(url, kind, body, status) for url, (kind, body) in BODIES.items()]


def run_on(folder: Path, path: Path, **params: object) -> Ingest:
    return run_ingest(folder, make_params(sources=[{"kind": "warc", "path": str(path)}], figures=True, **params))


@pytest.mark.parametrize(("compress", "encode"), [(True, False), (False, True)])
def test_a_warc_file_gives_the_items_of_a_crawl(tmp_path: Path, compress: bool, encode: bool) -> None:
    path = tmp_path / "x.warc.gz"
    write_warc(path, list_bodies(), compress, encode)
    archived = run_on(tmp_path, path)
    pages = {"http://a.test/zoo/owl.png": "http://a.test/zoo/"}
    responses = [Response(url, body, pages.get(url), kind) for url, (kind, body) in BODIES.items()]
    crawled = run_ingest(tmp_path, make_params(figures=True), responses)
    names = ("id", "source", "file", "part", "url", "page", "about", "pages", "sha256", "media_type")
    assert [[row[name] for name in names] for row in archived.rows] == [
        [row[name] for name in names] for row in crawled.rows
    ]
    ignored = [drop for drop in archived.parts if drop.reason == "ignored"]
    assert [(drop.key, drop.count) for drop in ignored] == [("folder:x.warc.gz", 1)]
    assert archived.reasons == {}
    assert archived.outcome.seen == len(BODIES)


def test_what_is_no_good_response_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "x.warc"
    bad = [("http://a.test/gone", "text/html", b"gone", "404 Not Found"), ("http://a.test:x/", "x", b"x", "200 OK")]
    write_warc(path, [*list_bodies(), *bad], compress=False)
    result = run_on(tmp_path, path)
    assert sorted(result.reasons.values()) == ["bad_url", "http_error"]
    assert result.outcome.seen == len(BODIES) + 2


def test_another_digest_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "x.warc"
    write_warc(path, list_bodies(), compress=False)
    path.write_bytes(path.read_bytes().replace(b"a note", b"a nose"))
    assert "broken" in run_on(tmp_path, path).reasons.values()


@settings(max_examples=10)
@given(st.floats(0, 0.999))
def test_a_cut_file_keeps_what_is_whole_and_says_so(tmp_path_factory: pytest.TempPathFactory, share: float) -> None:
    folder = tmp_path_factory.mktemp("cut")
    path = folder / "x.warc.gz"
    write_warc(path, list_bodies())
    whole = path.read_bytes()
    end = 1 + int(share * (len(whole) - 1))
    path.write_bytes(whole[:end])
    result = run_on(folder, path)
    kept = {row["file"] for row in result.rows}
    assert kept <= {"zoo/", "zoo/owl.png", "note.txt?x=1"}
    assert result.drops or whole.startswith(b"\x1f\x8b", end), "a file that ends with a record is whole"
