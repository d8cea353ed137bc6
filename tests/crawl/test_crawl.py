"""Test whole crawls: which URLs they find, in which order, and that none is requested twice."""

import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from tests.support.crawling import HOST, START, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
IMAGE = Reply(b"\x89PNG\r\n\x1a\n" + bytes(100), headers={"Content-Type": "image/png"})


def build_site(width: int = 3, seed: int = 0) -> dict[str, Route]:
    """A tree of pages; each shows an image of its own and one that its siblings show too. Delays are random."""
    rng = random.Random(seed)
    routes: dict[str, Route] = {}

    def add(path: str, depth: int) -> None:
        children = [f"{path}{number}/" for number in range(width)] if depth else []
        links = "".join(f'<a href="{child}">child</a>' for child in children)
        shown = f'<img src="{path}own.png"><img src="{path}../shared.png">'
        reply = page(shown + links)
        routes[path] = Reply(reply.body, headers=reply.headers, delay=rng.random() / 50)
        routes[f"{path}own.png"] = Reply(IMAGE.body + path.encode(), delay=rng.random() / 50)
        routes[f"{path}shared.png"] = Reply(IMAGE.body + b"shared" + path.encode())
        for child in children:
            add(child, depth - 1)

    add("/", 2)
    return routes


def test_a_site_is_crawled_breadth_first(tmp_path: Path) -> None:
    with serve(build_site()) as site:
        result = run_crawl(tmp_path, make_params(address=site.address))
        user_agent = site.headers["/"]["User-Agent"]
    rows = result.rows
    assert not result.drops
    assert list(rows) == sorted(rows)
    assert rows[START]["page"] is None
    assert rows[START]["depth"] == 0
    assert rows[f"{START}2/1/"]["depth"] == 2
    assert rows[f"{START}2/1/own.png"]["depth"] == 2
    assert rows[f"{START}2/1/own.png"]["page"] == f"{START}2/1/"
    assert rows[f"{START}2/shared.png"]["page"] == f"{START}2/0/"  # its first child in document order
    assert result.read_body(f"{START}1/own.png") == IMAGE.body + b"/1/"
    assert user_agent == "shardwright/0.1 (+https://crawler.test/contact)"


def test_the_bytes_do_not_depend_on_the_order_of_responses(tmp_path: Path) -> None:
    hashes = []
    for seed, per_host in ((0, 8), (1, 8), (2, 1)):
        with serve(build_site(seed=seed)) as site:
            params = make_params(address=site.address, per_host=per_host)
            hashes.append(run_crawl(tmp_path / str(seed), params).hash_files())
    assert hashes[0] == hashes[1] == hashes[2]


def test_a_second_run_makes_no_request_and_writes_the_same_bytes(tmp_path: Path) -> None:
    routes = {
        **build_site(),
        "/": page(
            '<a href="/0/">a</a><a href="/gone">b</a><a href="/broken">c</a><a href="/slow">d</a><a href="/moved">e</a>'
            '<a href="/private/">f</a><img src="/noai.png"><a href="/large">g</a>'
        ),
        "/robots.txt": Reply(b"User-agent: *\nDisallow: /private/"),
        "/broken": Reply(b"half", length=100),
        "/slow": lambda before: Reply(delay=0.0 if before else 60.0),
        "/moved": Reply(status=301, headers={"Location": "/0/1/"}),
        "/noai.png": Reply(IMAGE.body, headers={"X-Robots-Tag": "noai"}),
        "/large": Reply(bytes(5000)),
    }
    with serve(routes) as site:
        params = make_params(address=site.address, timeout=3.0, max_bytes=4000)
        first = run_crawl(tmp_path, params)
        count = site.requests.total()
        second = run_crawl(tmp_path, params)
        assert site.requests.total() == count
        assert second.hash_files() == first.hash_files()
        assert set(first.reasons.values()) == {
            "http_error", "truncated_body", "timeout", "robots_forbid", "opted_out", "too_large",
        }  # fmt: skip
        assert first.rows[f"{START}moved"]["final_url"] == f"{START}0/1/"

        wider = run_crawl(tmp_path, make_params(address=site.address, timeout=20.0, max_bytes=6000))
        assert site.requests.total() == count + 2  # only the URLs that the limits had stopped
        assert f"{START}large" not in wider.reasons
        assert f"{START}slow" not in wider.reasons

        narrower = run_crawl(tmp_path, make_params(address=site.address, max_bytes=4500))
        assert site.requests.total() == count + 2
        assert narrower.reasons[f"{START}large"] == "too_large"

        run_crawl(tmp_path, make_params(address=site.address, timeout=20.0, max_bytes=6000, refresh=1))
        assert site.requests.total() > 2 * count - 10


def test_a_killed_crawl_resumes_with_the_missing_urls(tmp_path: Path) -> None:
    reached, gate = threading.Event(), threading.Event()
    images = [f"/{number:02d}.png" for number in range(20)]

    def wait(before: int) -> Reply:
        reached.set()
        if before == 0:
            gate.wait(PATIENCE)
        return IMAGE

    routes: dict[str, Route] = {
        "/": page("".join(f'<img src="{path}">' for path in images)),
        **dict.fromkeys(images, IMAGE),
        images[12]: wait,
    }
    with serve(routes) as site:
        code = (
            "from pathlib import Path; from tests.support.crawling import *;"
            f"run_crawl(Path({str(tmp_path)!r}), make_params(address={site.address!r}, per_host=1, timeout=600.0))"
        )
        with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as process:
            assert reached.wait(PATIENCE)
            process.kill()
        gate.set()
        done = [path for path in images if site.requests[path]]
        assert done == images[:13]
        result = run_crawl(tmp_path, make_params(address=site.address, per_host=1))
        assert not result.drops
        assert {path: site.requests[path] for path in images} == {
            path: 2 if path == images[12] else 1 for path in images
        }
        undisturbed = run_crawl(tmp_path / "other", make_params(address=site.address))
    assert result.hash_files() == undisturbed.hash_files()


def test_urls_out_of_bounds_are_dropped_rows(tmp_path: Path) -> None:
    routes: dict[str, Route] = {
        "/": page('<a href="/1">1</a><a href="http://other.test/x">x</a><img src="http://cdn.test/y.png">'),
        "/1": page('<a href="/2">2</a><img src="/1.png">'),
        "/1.png": IMAGE,
        "/2": page('<a href="/3">3</a>'),
    }
    with serve(routes) as site:
        shallow = run_crawl(tmp_path / "a", make_params(address=site.address, max_depth=1))
        assert shallow.reasons == {
            "http://other.test/x": "out_of_bounds",
            "http://cdn.test/y.png": "out_of_bounds",
            f"{START}2": "out_of_bounds",
        }
        assert shallow.rows[f"{START}1.png"]["depth"] == 1  # what a page embeds belongs to it
        few = run_crawl(tmp_path / "b", make_params(address=site.address, max_urls=2))
        assert few.outcome.kept == 2
        assert few.reasons[f"{START}2"] == few.reasons[f"{START}1.png"] == "out_of_bounds"


def test_links_of_a_redirected_start_page_are_within_the_host_of_the_target(tmp_path: Path) -> None:
    routes: dict[str, Route] = {"/": page('<a href="/next">n</a>'), "/next": page("")}
    with serve(routes) as site, serve({"/": Reply(status=302, headers={"Location": f"http://www.{HOST}/"})}) as old:
        hosts = {HOST: old.address, f"www.{HOST}": site.address}
        result = run_crawl(tmp_path, make_params(hosts=hosts))
    assert not result.drops
    assert result.rows[START]["final_url"] == f"http://www.{HOST}/"
    assert result.rows[f"http://www.{HOST}/next"]["page"] == START


def test_links_passed_over_are_counted(tmp_path: Path) -> None:
    body = '<a href="mailto:a@b.test">m</a><a href="data:,x">d</a><a rel=nofollow href="/n">n</a><img src="/i.png">'
    routes: dict[str, Route] = {"/": page(body), "/i.png": IMAGE, "/n": page("")}
    with serve(routes) as site:
        result = run_crawl(tmp_path, make_params(address=site.address))
        assert "/n" not in site.requests
    assert sorted((part.key, str(part.reason), part.count) for part in result.parts) == [
        (START, "bad_url", 2),
        (START, "robots_forbid", 1),
    ]
    assert not any("@" in drop.key for drop in [*result.drops, *result.parts])


def test_a_bad_start_page_is_a_dropped_row(tmp_path: Path) -> None:
    result = run_crawl(tmp_path, make_params(start=["http://me:secret@site.test/", "ftp://x/", "ftp://x/"]))
    assert result.reasons == {"http://[…]@site.test/": "bad_url", "ftp://x/": "bad_url"}
    assert "secret" not in f"{result.rows} {result.drops}"


def test_nothing_to_crawl(tmp_path: Path) -> None:
    result = run_crawl(tmp_path, make_params(start=[]))
    assert (result.outcome.seen, result.rows) == (0, {})
    assert result.outcome.notes == ["nothing to crawl: crawl.start and crawl.lists are empty"]


def test_a_link_with_credentials_is_not_the_url_without_them(tmp_path: Path) -> None:
    links = '<a href="http://me:secret@site.test/b.html">x</a><a href="/b.html">y</a>'
    with serve({"/robots.txt": Reply(status=404), "/": page(links), "/b.html": page("here")}) as site:
        result = run_crawl(tmp_path, make_params(address=site.address))
    assert result.rows["http://site.test/b.html"]["status"] == 200
    assert result.reasons == {"http://[…]@site.test/b.html": "bad_url"}


@pytest.mark.parametrize("hosts", [{"a.test": "127.0.0.1"}, {"a.test": "999.0.0.1:80"}, {"A.test": "127.0.0.1:80"}])
def test_hosts_are_checked_before_any_work(hosts: dict[str, str]) -> None:
    with pytest.raises(ParamsError, match=r"crawl\.hosts"):
        make_params(hosts=hosts)


def test_dropped_rows_have_the_setting_that_decided(tmp_path: Path) -> None:
    links = [f'<a href="{link}">x</a>' for link in ("/deep", "http://other.test/", "/slow", "/large", "/gone")]
    routes: dict[str, Route] = {
        "/": page("".join(links)),
        "/deep": page('<a href="/deeper">x</a>'),
        "/deeper": page('<a href="/deepest">x</a>'),
        "/slow": Reply(delay=60.0),
        "/large": Reply(bytes(5000)),
    }
    with serve(routes) as site:
        start = [START, "http://127.0.0.1:9/"]
        params = make_params(address=site.address, start=start, timeout=3.0, max_bytes=4000, max_depth=2)
        result = run_crawl(tmp_path, params)
        few = run_crawl(tmp_path, make_params(address=site.address, max_urls=1))
        again = run_crawl(tmp_path, params)
    assert result.read_settings() == {
        f"{START}deepest": "crawl.max_depth",
        "http://other.test/": "crawl.start",
        f"{START}slow": "crawl.timeout",
        f"{START}large": "crawl.max_bytes",
        "http://127.0.0.1:9/": "crawl.hosts",
    }
    assert result.reasons[f"{START}gone"] == "http_error"
    assert few.read_settings()[f"{START}gone"] == "crawl.max_urls"
    assert again.read_settings() == result.read_settings()  # from the journal
    assert not any("crawl." in drop.detail for drop in (*result.drops, *few.drops))
