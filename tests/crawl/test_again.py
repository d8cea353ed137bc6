"""Test what a later crawl asks for: what changed, what failed and may succeed by now, rules older than a day."""

from pathlib import Path

import pytest

from tests.support.crawling import START, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve

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
        assert site.sent - before == len(IMAGE.body) * 2 + len("new") + len("not here")  # for robots.txt
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
