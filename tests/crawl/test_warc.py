"""Test the WARC files of a crawl: other readers read them, they hold what was kept, and are the same bytes again."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import fastwarc
import pytest
from hypothesis import given
from hypothesis import strategies as st
from warcio.archiveiterator import ArchiveIterator

from pipeline.crawl.http_request import HttpResponse, Transcript, decode_head, encode_head
from pipeline.crawl.warc import files
from pipeline.crawl.warc.captures import Capture
from pipeline.crawl.warc.files import WarcWriter
from pipeline.errors import InputError
from pipeline.tables.drops import Reason, Rejection
from tests.support import ingesting
from tests.support.crawling import HOST, START, Crawl, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve

pytestmark = pytest.mark.slow

CANARY = b"canary"
PICTURE = Reply(ingesting.make_image(1), headers={"Content-Type": "image/png"})


class Record(NamedTuple):
    kind: str
    url: str | None
    headers: dict[str, str]
    status: str
    http: dict[str, str]
    body: bytes


def read_with_warcio(folder: Path) -> Iterator[Record]:
    for path in sorted(folder.glob("*.warc.gz")):
        with path.open("rb") as file:
            for record in ArchiveIterator(file, check_digests="raise"):
                http = record.http_headers
                yield Record(
                    record.rec_type,
                    record.rec_headers.get_header("WARC-Target-URI"),
                    dict(record.rec_headers.headers),
                    http.statusline if http else "",
                    {name.lower(): value for name, value in http.headers} if http else {},
                    record.content_stream().read(),
                )


def read_with_fastwarc(folder: Path) -> Iterator[tuple[str, str | None, bytes]]:
    for path in sorted(folder.glob("*.warc.gz")):
        with path.open("rb") as file:
            for record in fastwarc.ArchiveIterator(file, parse_http=False):
                kind = record.headers["WARC-Type"] or ""
                assert record.verify_block_digest()
                if kind == "response":
                    record.parse_http()
                    assert record.verify_payload_digest()
                yield kind, record.headers.get("WARC-Target-URI"), record.reader.read()


def build_site() -> dict[str, Route]:
    packed = Reply(
        gzip.compress(b"<p>packed</p>", mtime=0), headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}
    )
    chunked = Reply(b"5\r\n<p>ch\r\n4\r\nunks\r\n0\r\n\r\n", headers={"Transfer-Encoding": "chunked"}, length=-1)
    links = ("packed", "chunked", "moved", "gone", "private", "noai", "same?x=1", "map.xml")
    return {
        "/robots.txt": Reply(b"User-agent: *\nDisallow: /private\n"),
        "/": page('<img src="/1.png">' + "".join(f'<a href="/{link}">x</a>' for link in links)),
        "/1.png": PICTURE,
        "/packed": packed,
        "/chunked": chunked,
        "/moved": Reply(b"away", status=301, headers={"Location": "/moved/again"}),
        "/moved/again": Reply(status=302, headers={"Location": "/there"}),
        "/there": page("there", Set_Cookie="a=1; path=/"),
        "/noai": Reply(CANARY, headers={"X-Robots-Tag": "noai", "X-Canary": "canary"}),
        "/same?x=1": page("same", head='<link rel="canonical" href="/same">'),
        "/same": page("same", head='<link rel="canonical" href="/same">'),
        "/map.xml": Reply(b"<urlset><url><loc>/there</loc></url></urlset>"),
    }


def crawl_site(folder: Path, routes: dict[str, Route], **params: Any) -> Crawl:
    with serve(routes) as site:
        return run_crawl(folder, make_params(address=site.address, warc=True, **params))


def test_two_readers_read_all_that_was_kept(tmp_path: Path) -> None:
    result = crawl_site(tmp_path, build_site())
    records = list(read_with_warcio(result.folder / "warc"))
    responses = {record.url or "": record for record in records if record.kind == "response"}
    kept = {row["final_url"]: url for url, row in result.rows.items() if row["reason"] is None}
    used = {f"{START}{path}" for path in ("moved", "moved/again", "same?x=1", "map.xml", "robots.txt")}
    assert set(responses) == set(kept) | used
    for final_url, url in kept.items():
        assert responses[final_url].body == result.read_body(url)
        assert responses[final_url].status.startswith("200")
    assert result.outcome.notes[1:] == [f"{len(responses)} responses in WARC files"]
    assert (result.folder / "warc" / "crawl-000000.warc.gz").read_bytes().count(CANARY) == 0
    assert not any("canary" in str(record).lower() for record in records)

    assert records[0].kind == "warcinfo"
    assert records[0].headers["WARC-Filename"] == "crawl-000000.warc.gz"
    ids = [record.headers["WARC-Record-ID"] for record in records]
    assert len(ids) == len(set(ids))
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", record.headers["WARC-Date"]) for record in records)
    assert [record.url for record in records if record.kind == "response"] == sorted(responses)

    read = list(read_with_fastwarc(result.folder / "warc"))
    assert [(kind, url) for kind, url, _ in read] == [(record.kind, record.url) for record in records]
    assert all(body.endswith(record.body) for (_, _, body), record in zip(read, records, strict=True))


def test_records_say_what_was_sent_and_received(tmp_path: Path) -> None:
    result = crawl_site(tmp_path, build_site())
    records = {(record.kind, record.url): record for record in read_with_warcio(result.folder / "warc")}
    response, request = records["response", START], records["request", START]
    assert request.status == "/ HTTP/1.1"  # without the verb, which warcio takes away
    assert (request.http["host"], request.http["user-agent"]) == (
        HOST,
        "shardwright/0.1 (+https://crawler.test/contact)",
    )
    assert request.headers["WARC-Concurrent-To"] == response.headers["WARC-Record-ID"]
    assert records["response", f"{START}there"].http["set-cookie"] == "a=1; path=/"
    assert ("metadata", START) not in records
    assert records["metadata", f"{START}1.png"].body == f"via: {START}\r\n".encode()
    assert records["metadata", f"{START}there"].body == f"via: {START}moved\r\n".encode()
    assert records["metadata", f"{START}moved/again"].body == f"via: {START}moved\r\n".encode()
    for path, name, value in (("packed", "content-encoding", "gzip"), ("chunked", "transfer-encoding", "chunked")):
        changed = records["response", f"{START}{path}"]
        assert name not in changed.http
        assert changed.http[f"x-crawler-{name}"] == value
        assert changed.http["content-length"] == str(len(changed.body))
    assert records["response", f"{START}moved"].http["location"] == "/moved/again"


def test_the_same_crawl_gives_the_same_bytes(tmp_path: Path) -> None:
    with serve(build_site()) as site:
        params = make_params(address=site.address, warc=True)
        first, count = run_crawl(tmp_path, params), site.requests.total()
        second = run_crawl(tmp_path, params)
        without = run_crawl(tmp_path, make_params(address=site.address))
        assert site.requests.total() == count  # also not for a switch that is turned on later
    assert first.hash_files() == second.hash_files()
    hashes = without.hash_files()
    assert {name: hashed for name, hashed in first.hash_files().items() if "warc" not in name} == hashes


def test_several_processes_give_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.crawl.visit_level.MIN_URLS", 2)
    robots = Reply(f"Sitemap: {START}map.xml\n".encode())
    other: dict[str, Route] = {
        "/": Reply(status=302, headers={"Location": f"{START}there"}),
        "/robots.txt": Reply(status=301, headers={"Location": f"{START}robots.txt"}),
    }
    with serve(build_site() | {"/robots.txt": robots}) as site, serve(other) as second:
        hosts = {"second.test": second.address, "third.test": second.address}
        start = [START, "http://second.test/", "http://third.test/"]
        params = make_params(address=site.address, hosts=hosts, start=start, warc=True, sitemaps=["robots"])
        results = [run_crawl(tmp_path, params, workers=workers) for workers in (3, 0, 2)]
    hashes = [result.hash_files() for result in results]
    assert hashes[0] == hashes[1] == hashes[2]
    urls = [record.url for record in read_with_warcio(results[0].folder / "warc") if record.kind == "response"]
    assert {"http://second.test/robots.txt", "http://third.test/", f"{START}map.xml"} < set(urls)


def test_a_page_that_has_not_changed_keeps_its_first_time(tmp_path: Path) -> None:
    now = [1_800_000_000.0]
    routes: dict[str, Route] = {"/": Reply(PICTURE.body, headers={"ETag": '"a"'})}
    with serve(routes) as site:
        dates = []
        for refresh in range(2):
            params = make_params(address=site.address, warc=True, refresh=refresh)
            result = run_crawl(tmp_path, params, clock=lambda: now[0])
            (response,) = [
                r for r in read_with_warcio(result.folder / "warc") if (r.kind, r.url) == ("response", START)
            ]
            dates.append(response.headers["WARC-Date"])
            assert response.body == PICTURE.body
            now[0] += 100_000
        assert site.statuses["/"] == [200, 304]
    assert dates == ["2027-01-15T08:00:00Z"] * 2


def test_ingest_reads_the_items_of_the_crawl_back(tmp_path: Path) -> None:
    routes: dict[str, Route] = {
        "/": page('<figure><img src="/1.png"><figcaption>one</figcaption></figure>'),
        "/1.png": PICTURE,
    }
    result = crawl_site(tmp_path, routes)
    params = {
        "figures": True,
        "sources": [{"kind": "warc", "path": str(result.folder / "warc" / "crawl-000000.warc.gz")}],
    }
    read = ingesting.run_ingest(tmp_path / "ingest", ingesting.make_params(**params))
    assert {row["url"] for row in read.rows} == {START, f"{START}1.png"}
    assert read.reasons == {}


def make_capture(number: int, body: bytes, head: str = "HTTP/1.1 200 OK") -> tuple[Capture, HttpResponse]:
    transcript = Transcript("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", head, 1_700_000_000 + number)
    return Capture(f"http://a.test/{number}"), HttpResponse(200, body=body, transcript=transcript)


def test_files_begin_anew_at_their_size_and_stay_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "MAX_FILE_BYTES", 20_000)
    monkeypatch.setattr(files, "MAX_WAITING_BYTES", 5_000)
    stored = dict(
        make_capture(number, gzip.compress(bytes([number]) * 9) + bytes(number * 50)) for number in range(100)
    )
    writer = WarcWriter(tmp_path / "warc", "agent")
    assert sum(writer.write(stored, stored.__getitem__)) == 100
    paths = sorted((tmp_path / "warc").iterdir())
    assert len(paths) > 2
    assert [path.name for path in paths] == [f"crawl-{number:06d}.warc.gz" for number in range(len(paths))]
    records = [record for record in read_with_warcio(tmp_path / "warc") if record.kind == "response"]
    assert [(record.url, record.body) for record in records] == [
        (one.url, response.body) for one, response in stored.items()
    ]
    for path in paths:
        with path.open("rb") as file:
            assert next(record.rec_type for record in ArchiveIterator(file)) == "warcinfo"


def test_what_is_not_stored_is_said(tmp_path: Path) -> None:
    writer = WarcWriter(tmp_path / "warc", "agent")
    assert list(writer.write([Capture("http://a.test/")], lambda one: HttpResponse(200))) == [1]
    assert writer.left_out == 1
    assert list((tmp_path / "warc").iterdir()) == []
    with pytest.raises(InputError, match=r"http://a\.test/ is missing in the cache"):
        list(WarcWriter(tmp_path / "other", "agent").write([Capture("http://a.test/")], lambda one: None))


@given(
    lines=st.lists(
        st.tuples(
            st.sampled_from(["Content-Length", "content-length", "Content-Encoding", "Transfer-Encoding", "X", ""]),
            st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=20).map(
                lambda text: text.replace("\0", "")
            ),
        ),
        max_size=6,
    ),
    body=st.binary(max_size=50),
)
def test_any_headers_are_written_such_that_the_body_is_read(
    tmp_path_factory: pytest.TempPathFactory, lines: list[tuple[str, str]], body: bytes
) -> None:
    folder = tmp_path_factory.mktemp("any")
    head = "\r\n".join(["HTTP/1.1 200 OK", *(f"{name}: {value}" for name, value in lines)])
    capture, response = make_capture(0, body, head)
    assert list(WarcWriter(folder / "warc", "agent").write([capture], lambda one: response)) == [1]
    raw = gzip.decompress((folder / "warc" / "crawl-000000.warc.gz").read_bytes())
    assert raw.count(b"WARC/1.1\r\n") == 3
    (record,) = [record for record in read_with_warcio(folder / "warc") if record.kind == "response"]
    assert record.body == body


def test_a_rejected_response_is_stored_without_what_was_on_the_wire() -> None:
    _, response = make_capture(0, b"")
    assert decode_head(encode_head(response), b"") == response
    rejected = HttpResponse(200, rejection=Rejection(Reason.OPTED_OUT, "x"), transcript=response.transcript)
    assert decode_head(encode_head(rejected), b"").transcript is None
