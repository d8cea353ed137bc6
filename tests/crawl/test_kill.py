"""Test that a crawl killed at any moment goes on: nothing is lost, and nothing twice but what was in flight."""

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pipeline.crawl.answers import Answers
from pipeline.crawl.http_request import Limit
from pipeline.crawl.journal import Journal
from pipeline.crawl.params import CrawlParams
from tests.support.crawling import HOST, SITE_FILES, START, make_params, run_crawl
from tests.support.loopback import Reply, Route, Site, page, serve
from tests.support.running import ROOT
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.slow

PAGES, IMAGES = 6, 9
PER_HOST = 4
CODE = """
import sys
from pathlib import Path
from tests.support.crawling import make_params, run_crawl
run_crawl(Path(sys.argv[1]), make_params(address=sys.argv[2], per_host=int(sys.argv[3])))
"""


def build_site() -> dict[str, Route]:
    """Pages with images, each answered after a few milliseconds; 61 URLs with the start page and robots.txt."""
    routes: dict[str, Route] = {
        "/": page("".join(f'<a href="/{number}/">p</a>' for number in range(PAGES))),
        "/robots.txt": Reply(status=404),
    }
    for number in range(PAGES):
        paths = [f"/{number}/{image}.png" for image in range(IMAGES)]
        routes[f"/{number}/"] = page("".join(f'<img src="{path}">' for path in paths))
        for image, path in enumerate(paths):
            routes[path] = Reply(b"\x89PNG\r\n\x1a\n" + path.encode() * 500, delay=0.003 * (image % 3))
    return routes


def list_known(cache: Path, params: CrawlParams, site: Site) -> set[str]:
    """The paths whose responses are in the journal."""
    limit, cut = Limit(params.max_bytes), Limit(1, cut=True)
    with Journal(cache / "answers") as journal:
        answers = Answers(journal, params, {HOST: "listed"})
        urls = {path: START + path[1:] for path in site.requests}
        return {path for path, url in urls.items() if answers.recall(url, limit) or answers.recall(url, cut)}


SOME = (3, 30)
MOMENTS = [pytest.param(moment, marks=() if moment in SOME else pytest.mark.sweep) for moment in range(1, 51)]


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_crawl_killed_at_a_request_goes_on(tmp_path: Path, moment: int) -> None:
    """At the start of the request of that number, and a little later for every other one."""
    reached = threading.Event()
    routes = build_site()

    def watch(route: Route, site: Site) -> Route:
        def answer(before: int) -> Reply:
            if site.requests.total() >= moment:
                reached.set()
            assert isinstance(route, Reply)
            return route

        return answer

    with serve({}) as site:
        site.routes = {path: watch(route, site) for path, route in routes.items()}
        words = [sys.executable, "-c", CODE, str(tmp_path), site.address, str(PER_HOST)]
        with subprocess.Popen(words, cwd=ROOT) as process:
            assert reached.wait(PATIENCE)
            time.sleep(0.002 * (moment % 2))
            process.kill()
        params = make_params(address=site.address, per_host=PER_HOST)
        known = list_known(tmp_path / "cache", params, site)
        in_flight = set(site.requests) - known
        assert len(in_flight) <= PER_HOST
        result = run_crawl(tmp_path, params)
        assert {path for path, count in site.requests.items() if count > 1} == in_flight
        assert max(site.requests.values()) <= 2
        assert set(site.requests) == set(routes) | SITE_FILES
    with serve(routes) as site:
        whole = run_crawl(tmp_path / "whole", make_params(address=site.address, per_host=PER_HOST))
    assert not result.drops
    assert result.hash_files() == whole.hash_files()
