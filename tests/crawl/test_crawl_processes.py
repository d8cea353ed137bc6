"""Test that several processes crawl what one does, with the limits of each host, and that they may be killed."""

import itertools
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipeline.crawl.params import CrawlParams
from pipeline.errors import PipelineError
from tests.support.clusters import start_cluster
from tests.support.crawling import Crawl, make_params, run_crawl
from tests.support.loopback import Reply, Route, Site, page, serve
from tests.support.processes import kill, list_children, read_state

pytestmark = pytest.mark.slow

HOSTS = [f"{name}.test" for name in ("amber", "brick", "coral", "denim", "ebony", "flint", "grape")]
DEAD = "dead.test"
SLOW = HOSTS[0]
DELAY = 0.15
NOON = partial(float, 1_790_000_000)  # rows have the time at which rules were read


@pytest.fixture(autouse=True)
def _start_processes_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.crawl.visit_level.MIN_URLS", 2)


@dataclass(frozen=True)
class Web:
    """Some hosts that redirect to each other."""

    sites: Mapping[str, Site]

    def make_params(self, **changes: Any) -> CrawlParams:
        hosts = {name: site.address for name, site in self.sites.items()} | {DEAD: "127.0.0.1:9"}
        return make_params(start=[f"http://{name}/" for name in hosts], hosts=hosts, retries=0, **changes)

    def count_requests(self) -> dict[str, int]:
        return {f"{name}{path}": count for name, site in self.sites.items() for path, count in site.requests.items()}


def redirect(url: str) -> Reply:
    return Reply(status=302, headers={"Location": url})


def build_host(number: int) -> dict[str, Route]:
    """A few pages; a redirect to each other host, a chain around all of them, and an endless one."""
    name, following = HOSTS[number], HOSTS[(number + 1) % len(HOSTS)]
    links = [f"/to/{other}" for other in [*HOSTS, DEAD]] + ["/round/0", "/endless", "/private", "/one", "/image.png"]
    routes: dict[str, Route] = {
        "/": page("".join(f'<a href="{link}">x</a>' for link in links)),
        "/one": page('<a href="/two">x</a>'),
        "/two": page(f"the end of {name}"),
        "/image.png": Reply(b"\x89PNG\r\n\x1a\n" + bytes(100) + name.encode(), headers={"Content-Type": "image/png"}),
        "/endless": redirect(f"http://{following}/endless"),
        "/private": page("not for robots"),
        "/robots.txt": Reply(b"User-agent: *\nDisallow: /private\n"),
    }
    routes |= {f"/to/{other}": redirect(f"http://{other}/from/{name}") for other in [*HOSTS, DEAD]}
    routes |= {f"/from/{other}": page(f"from {other}") for other in HOSTS}
    routes |= {f"/round/{hop}": redirect(f"http://{following}/round/{hop + 1}") for hop in range(4)}
    routes["/round/4"] = page("all around")
    if name == SLOW:
        routes["/robots.txt"] = Reply(f"User-agent: *\nCrawl-delay: {DELAY}\nDisallow: /private\n".encode())
    elif number in (4, 5):  # its robots.txt is on another host
        routes["/robots.txt"] = redirect(f"http://{following}/robots-of/{name}")
    routes |= {f"/robots-of/{other}": Reply(b"User-agent: *\nDisallow: /private\n") for other in HOSTS}
    return routes


@contextmanager
def serve_web() -> Iterator[Web]:
    with ExitStack() as stack:
        yield Web({name: stack.enter_context(serve(build_host(number))) for number, name in enumerate(HOSTS)})


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Crawl:
    """The crawl by one process; addresses are in no output."""
    with serve_web() as web:
        return run_crawl(tmp_path_factory.mktemp("alone"), web.make_params(), NOON)


@pytest.mark.parametrize(("workers", "later"), [(2, 0), (4, 3)])
def test_several_processes_write_the_bytes_of_one(tmp_path: Path, alone: Crawl, workers: int, later: int) -> None:
    with serve_web() as web:
        result = run_crawl(tmp_path, web.make_params(), NOON, workers)
        counts = web.count_requests()
        slow = web.sites[SLOW].times
        again = run_crawl(tmp_path, web.make_params(), NOON, later)
        assert web.count_requests() == counts
    assert set(counts.values()) == {1}
    assert result.hash_files() == alone.hash_files()
    assert again.hash_files() == alone.hash_files()
    assert (
        min(after - before for before, after in itertools.pairwise(slow)) > DELAY / 2
    )  # as the server of a busy machine sees it
    assert len(list((tmp_path / "cache" / "answers").iterdir())) > 1


def test_the_web_of_these_tests_has_all_kinds_of_redirects(alone: Crawl) -> None:
    rows, reasons = alone.rows, alone.reasons
    for name in HOSTS:
        assert rows[f"http://{name}/to/grape.test"]["final_url"] == f"http://grape.test/from/{name}"
        assert reasons[f"http://{name}/to/{DEAD}"] == "connection_failed"
        assert reasons[f"http://{name}/endless"] == "redirect_refused"
        assert reasons[f"http://{name}/private"] == "robots_forbid"
        assert alone.read_body(f"http://{name}/round/0") == page("all around").body
    assert reasons[f"http://{DEAD}/"] == "connection_failed"


def kill_crawlers() -> None:
    """Kill the crawling processes: children of the fork server, which is one of this process."""
    for pid in list_children(os.getpid()):
        state = read_state(pid)
        if state is not None and state[1] != os.getpid():
            kill(pid)


def test_a_killed_process_is_replaced(tmp_path: Path, alone: Crawl) -> None:
    def kill_once(before: int) -> Reply:
        if before == 0:
            kill_crawlers()
        return page("the end of coral.test")

    with serve_web() as web:
        web.sites["coral.test"].routes["/two"] = kill_once
        result = run_crawl(tmp_path, web.make_params(), NOON, 2)
        assert web.count_requests()["coral.test/two"] == 2
    assert result.hash_files() == alone.hash_files()


@pytest.mark.sweep
def test_a_process_that_is_killed_again_and_again_is_named_and_the_next_run_goes_on(
    tmp_path: Path, alone: Crawl
) -> None:
    def kill_always(before: int) -> Reply:
        kill_crawlers()
        return Reply(status=500)

    with serve_web() as web:
        routes = web.sites["coral.test"].routes
        healed, routes["/two"] = routes["/two"], kill_always
        with pytest.raises(PipelineError, match=r"crawl_partition of hosts [12] of 2 failed: its process was killed"):
            run_crawl(tmp_path, web.make_params(), NOON, 2)
        routes["/two"] = healed
        before = web.count_requests()
        result = run_crawl(tmp_path, web.make_params(), NOON, 4)
        counts = web.count_requests()
    assert result.hash_files() == alone.hash_files()
    again = {url for url, count in before.items() if counts[url] > count}
    assert "coral.test/two" in again
    assert len(again) < 10 < len(before)  # those in flight


@pytest.mark.sweep
def test_a_cluster_writes_the_bytes_of_one_process(tmp_path: Path, alone: Crawl) -> None:
    with serve_web() as web, start_cluster(tmp_path, 2) as cluster:
        result = run_crawl(tmp_path, web.make_params(), NOON, scheduler=cluster.address)
    assert result.hash_files() == alone.hash_files()


def test_a_served_host_is_started_once_for_all_processes(tmp_path: Path) -> None:
    demo = {"serve": "demo.server:serve", "options": {"things": 60, "seed": 7}}
    hosts = {f"{name}.test": demo for name in ("amber", "brick")}
    params = make_params(start=[f"http://{name}/" for name in hosts], hosts=hosts)
    several, one = (run_crawl(tmp_path / str(workers), params, NOON, workers) for workers in (2, 0))
    assert several.outcome.kept > 100
    assert several.hash_files() == one.hash_files()
