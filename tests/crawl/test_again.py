"""Test what a later crawl asks for: what changed, what failed and may succeed by now, rules older than a day."""

from pathlib import Path

import pytest

from pipeline.crawl.failures import BUSY, FAILURES, LATE, REFUSED, is_retried, passes_with_time
from pipeline.crawl.http_request import HttpResponse
from pipeline.tables.drops import Reason, Rejection
from tests.support.crawling import START, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve
from tests.support.running import ROOT

pytestmark = pytest.mark.slow

IMAGE = Reply(b"\x89PNG\r\n\x1a\n" + bytes(1000), headers={"Content-Type": "image/png"})
DATE = "Tue, 01 Dec 2026 10:00:00 GMT"


def add_validator(reply: Reply, name: str, value: str) -> Reply:
    return Reply(reply.body, reply.status, {**reply.headers, name: value})


LATER = "Tue, 01 Dec 2026 10:00:01 GMT"
VALIDATORS = [("ETag", '"a"', '"b"'), ("ETag", 'W/"a"', 'W/"b"'), ("Last-Modified", DATE, LATER)]


@pytest.mark.parametrize(("name", "value", "new"), VALIDATORS)
def test_a_second_crawl_transfers_what_changed(tmp_path: Path, name: str, value: str, new: str) -> None:
    routes: dict[str, Route] = {
        "/": add_validator(page('<img src="/a.png"><img src="/b.png"><img src="/c.png">'), name, value),
        "/a.png": add_validator(IMAGE, name, value),
        "/b.png": add_validator(IMAGE, name, value),
        "/c.png": IMAGE,
    }
    with serve(routes) as site:
        first = run_crawl(tmp_path, make_params(address=site.address))
        before = site.sent
        site.routes["/b.png"] = add_validator(Reply(IMAGE.body + b"new"), name, new)
        second = run_crawl(tmp_path, make_params(address=site.address, refresh=1))
        assert site.statuses["/"] == site.statuses["/a.png"] == [200, 304]
        assert site.statuses["/b.png"] == site.statuses["/c.png"] == [200, 200]
        assert site.sent - before == len(IMAGE.body) * 2 + len("new") + 3 * len(
            "not here"
        )  # robots.txt, tdmrep.json, ai.txt
        third = run_crawl(tmp_path, make_params(address=site.address, refresh=2))
        assert site.statuses["/a.png"] == [200, 304, 304]
        assert site.statuses["/b.png"] == [200, 200, 304]
        count = site.requests.total()
        assert run_crawl(tmp_path, make_params(address=site.address)).hash_files() == first.hash_files()
        assert run_crawl(tmp_path, make_params(address=site.address, refresh=1)).hash_files() == second.hash_files()
        assert site.requests.total() == count
    assert second.read_body(f"{START}a.png") == IMAGE.body
    assert second.read_body(f"{START}b.png") == IMAGE.body + b"new"
    assert second.hash_files() == third.hash_files()


def test_a_body_that_cannot_be_read_is_transferred_anew(tmp_path: Path) -> None:
    with serve({"/": add_validator(IMAGE, "ETag", '"a"')}) as site:
        run_crawl(tmp_path, make_params(address=site.address))
        (path,) = (tmp_path / "cache/answers").glob("*.answers")
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        for refresh in (1, 0):
            result = run_crawl(tmp_path, make_params(address=site.address, refresh=refresh))
            assert result.read_body(START) == IMAGE.body
        assert site.statuses["/"] == [200, 304, 200, 200], "the damage shows when the body is read"
        run_crawl(tmp_path, make_params(address=site.address, refresh=2))
        assert site.statuses["/"][4:] == [304]


@pytest.mark.parametrize(
    ("refused", "reasons"),
    [
        (Reply(IMAGE.body, headers={"X-Robots-Tag": "noai"}), {START: "opted_out"}),
        (Reply(status=304, headers={"X-Robots-Tag": "noai"}, length=-1), {START: "opted_out"}),
        (Reply(status=304, headers={"Content-Type": "text/html"}, length=-1), {}),
        (Reply(status=404), {START: "http_error"}),
    ],
)
def test_what_is_said_of_an_unchanged_body_is_heard(tmp_path: Path, refused: Reply, reasons: dict[str, str]) -> None:
    with serve({"/": add_validator(IMAGE, "ETag", '"a"')}) as site:
        run_crawl(tmp_path, make_params(address=site.address))
        site.routes["/"] = refused
        assert run_crawl(tmp_path, make_params(address=site.address, refresh=1)).reasons == reasons


def test_a_304_that_was_not_asked_for_is_an_error(tmp_path: Path) -> None:
    with serve({"/": IMAGE}) as site:
        run_crawl(tmp_path, make_params(address=site.address))
        site.routes["/"] = Reply(status=304, length=-1)
        assert run_crawl(tmp_path, make_params(address=site.address, refresh=1)).reasons == {START: "http_error"}


@pytest.mark.parametrize("value", ["no quotes", '"' + "a" * 300 + '"', '"ä"', '"a" "b"'])
def test_odd_validators_are_not_sent_back(tmp_path: Path, value: str) -> None:
    with serve({"/": add_validator(IMAGE, "ETag", value)}) as site:
        for refresh in (0, 1):
            assert not run_crawl(tmp_path, make_params(address=site.address, refresh=refresh)).drops
        assert "If-None-Match" not in site.headers["/"]


def test_failures_that_pass_are_asked_for_again_when_retry_is_raised(tmp_path: Path) -> None:
    statuses = (403, 404, 408, 410, 429, 500, 503)
    paths = {f"/{status}": Reply(status=status) for status in statuses}
    links = "".join(f'<a href="{path}">x</a>' for path in [*paths, "/slow", "/cut", "/large", "/fine"])
    routes: dict[str, Route] = {
        "/": page(links), "/slow": Reply(delay=60.0), "/cut": Reply(b"half", length=100), "/large": Reply(bytes(3000)),
        "/fine": IMAGE, **paths,
    }  # fmt: skip
    params = {"timeout": 1.0, "retries": 0, "max_bytes": 2000}
    with serve(routes) as site:
        run_crawl(tmp_path, make_params(address=site.address, **params))
        assert set(site.requests.values()) == {1}
        for path in [*paths, "/slow", "/cut", "/large"]:
            site.routes[path] = Reply(path.encode())
        again = run_crawl(tmp_path, make_params(address=site.address, **params, retry=1))
        asked = {path for path, count in site.requests.items() if count == 2}
        assert asked == {"/408", "/429", "/500", "/503", "/slow", "/cut"}
        assert set(again.reasons) == {f"{START}{name}" for name in ("403", "404", "410", "large")}
        run_crawl(tmp_path, make_params(address=site.address, **params, retry=2))
        run_crawl(tmp_path, make_params(address=site.address, **params))
        assert max(site.requests.values()) == 2


DAY = 24 * 3600
NOW = 1_800_000_000
ROBOTS = "/robots.txt"
FORBID_ALL = Reply(b"User-agent: *\nDisallow: /")


class Clock:
    """A clock that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return float(self.now)


def list_pages(*paths: str) -> list[str]:
    return [f"{START}{path}" for path in paths]


def test_rules_are_at_most_a_day_old_where_a_url_is_requested(tmp_path: Path) -> None:
    clock = Clock()
    with serve(dict.fromkeys(("/a", "/b", "/c"), IMAGE)) as site:
        run_crawl(tmp_path, make_params(address=site.address, start=list_pages("a")), clock)
        clock.now += DAY
        run_crawl(tmp_path, make_params(address=site.address, start=list_pages("a", "b")), clock)
        assert site.requests[ROBOTS] == 1
        clock.now += 1
        run_crawl(tmp_path, make_params(address=site.address, start=list_pages("a", "b")), clock)
        assert site.requests[ROBOTS] == 1, "nothing is requested"
        site.routes[ROBOTS] = FORBID_ALL
        changed = make_params(address=site.address, start=list_pages("a", "b", "c"))
        result = run_crawl(tmp_path, changed, clock)
        assert result.reasons == dict.fromkeys(list_pages("a", "b", "c"), "robots_forbid")
        assert (site.requests[ROBOTS], site.requests["/c"]) == (2, 0)
        site.routes[ROBOTS] = Reply(status=404)
        clock.now += 2 * DAY
        assert run_crawl(tmp_path, changed, clock).hash_files() == result.hash_files()
        assert site.requests[ROBOTS] + site.requests["/a"] + site.requests["/b"] == site.requests.total() - 2 == 4
        refreshed = make_params(address=site.address, start=list_pages("a", "b", "c"), refresh=1)
        assert not run_crawl(tmp_path, refreshed, clock).drops


def test_new_rules_are_heard_whichever_url_needed_them(tmp_path: Path) -> None:
    """A run that finds new rules late gives what a repetition of it gives."""
    clock = Clock()
    routes: dict[str, Route] = {
        "/": page('<a href="/1">1</a><a href="/2">2</a>'), "/1": page('<a href="/3">3</a>'), "/2": IMAGE, "/3": IMAGE,
    }  # fmt: skip
    with serve(routes) as site:
        run_crawl(tmp_path, make_params(address=site.address, max_depth=1), clock)
        site.routes[ROBOTS] = Reply(b"User-agent: *\nDisallow: /2")
        clock.now += DAY + 1
        late = run_crawl(tmp_path, make_params(address=site.address), clock)
        assert late.reasons == {f"{START}2": "robots_forbid"}
        count = site.requests.total()
        assert run_crawl(tmp_path, make_params(address=site.address), clock).hash_files() == late.hash_files()
        assert site.requests.total() == count


@pytest.mark.parametrize("down", [Reply(status=503), Reply(b"User", length=100), Reply(status=429)])
def test_a_site_that_was_down_is_asked_again_after_a_day(tmp_path: Path, down: Reply) -> None:
    clock = Clock()
    with serve({"/": IMAGE, ROBOTS: down}) as site:
        params = make_params(address=site.address, retries=0)
        assert run_crawl(tmp_path, params, clock).outcome.kept == 0
        site.routes[ROBOTS] = Reply(status=404)
        clock.now += DAY
        assert run_crawl(tmp_path, params, clock).outcome.kept == 0
        assert site.requests == {ROBOTS: 1}
        assert not run_crawl(tmp_path / "copy", make_params(address=site.address, retries=0), clock).drops
        clock.now += 1
        assert run_crawl(tmp_path, params, clock).outcome.kept == 1


def test_a_site_that_was_down_is_asked_again_when_retry_is_raised(tmp_path: Path) -> None:
    clock = Clock()
    with serve({"/": IMAGE, ROBOTS: Reply(status=503)}) as site:
        assert run_crawl(tmp_path, make_params(address=site.address, retries=0), clock).outcome.kept == 0
        site.routes[ROBOTS] = Reply(status=404)
        assert run_crawl(tmp_path, make_params(address=site.address, retries=0, retry=1), clock).outcome.kept == 1


def test_what_was_kept_stays_while_its_site_is_down(tmp_path: Path) -> None:
    clock = Clock()
    with serve(dict.fromkeys(("/a", "/b"), IMAGE)) as site:
        run_crawl(tmp_path, make_params(address=site.address, start=list_pages("a"), retries=0), clock)
        site.routes[ROBOTS] = Reply(status=503)
        clock.now += DAY + 1
        for _ in range(2):
            params = make_params(address=site.address, start=list_pages("a", "b"), retries=0)
            result = run_crawl(tmp_path, params, clock)
            assert result.reasons == dict.fromkeys(list_pages("b"), "robots_forbid")
        assert (site.requests[ROBOTS], site.requests["/a"], site.requests["/b"]) == (2, 1, 0)


def test_the_documentation_has_the_table_of_failures() -> None:
    text = (ROOT / "docs/crawling.md").read_text(encoding="utf-8")
    named = {f"`{reason}`": failure for reason, failure in FAILURES.items()} | {
        "`http_error` 429, 5xx": BUSY,
        "`http_error` 408, 425": LATE,
        "`http_error`, other statuses": REFUSED,
    }
    words = {True: "yes", False: "no"}
    for name, failure in named.items():
        assert f"| {name} | {words[failure.retried]} | {words[failure.passes]} | {failure.why} |\n" in text


def test_every_status_and_reason_has_its_failure() -> None:
    for status in range(100, 600):
        response = HttpResponse(status, rejection=Rejection(Reason.HTTP_ERROR, "", str(status)))
        assert passes_with_time(response) == (status in (408, 425, 429) or status >= 500)
        assert is_retried(response) == (status == 429 or status >= 500)
    assert not passes_with_time(HttpResponse(503))
    assert Reason.HTTP_ERROR not in FAILURES
    assert not any(failure.retried and not failure.passes for failure in FAILURES.values())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/.well-known/tdmrep.json", b'[{"location": "/", "tdm-reservation": 1}]'),
        ("/ai.txt", b"User-Agent: *\nDisallow: /"),
        (ROBOTS, b"User-agent: *\nContent-Signal: ai-train=no"),
        (ROBOTS, b"User-agent: *\nContent-Usage: train-ai=n"),
    ],
)
def test_opt_outs_in_files_of_a_site_are_heard_after_a_day(tmp_path: Path, path: str, body: bytes) -> None:
    clock = Clock()
    with serve(dict.fromkeys(("/a", "/b"), IMAGE)) as site:
        run_crawl(tmp_path, make_params(address=site.address, start=list_pages("a")), clock)
        site.routes[path] = Reply(body)
        clock.now += DAY + 1
        params = make_params(address=site.address, start=list_pages("a", "b"))
        result = run_crawl(tmp_path, params, clock)
        assert result.reasons == dict.fromkeys(list_pages("a", "b"), "opted_out")
        assert site.requests["/b"] == 0
        count = site.requests.total()
        clock.now += 2 * DAY
        assert run_crawl(tmp_path, params, clock).hash_files() == result.hash_files()
        assert site.requests.total() == count
