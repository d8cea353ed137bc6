"""Test the bounds of a crawl over several requests: memory, numbers of requests, gaps between them, pauses."""

import asyncio
import resource
from functools import partial
from itertools import chain, pairwise, repeat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.wire import memory
from pipeline.crawl.wire.memory import FREE_BYTES, Lease, MemoryBudget
from pipeline.errors import ParamsError
from tests.crawl.wire.faults import BODY, CHUNKED, sized
from tests.support.crawling import HOST, START, Crawl, make_params, run_crawl
from tests.support.loopback import Reply, Route, page, serve
from tests.support.raw_server import RawServer, Script, serve_raw

pytestmark = pytest.mark.slow

IMAGE = Reply(BODY, headers={"Content-Type": "image/png"})
PLACEHOLDER = "shardwright/0.1 (+https://example.org/shardwright)"


def crawl_paths(folder: Path, address: str, *paths: str, **changes: object) -> Crawl:
    """Crawl a list of paths of the host."""
    (folder / "urls.txt").write_text("".join(f"http://{HOST}{path}\n" for path in paths))
    lists = {"start": [], "lists": [{"file": "urls.txt"}], "lists_folder": str(folder)}
    return run_crawl(folder, make_params(address=address, **lists, **changes))


@given(sizes=st.lists(st.integers(0, 40), max_size=20))
def test_responses_share_their_memory_and_all_of_them_end(sizes: list[int]) -> None:
    """In units of 1 MiB: 8 are shared, and one response of 40 has room besides."""
    held = most = 0

    async def read(budget: MemoryBudget, size: int) -> None:
        nonlocal held, most
        with Lease(budget) as lease:
            for units in range(size):
                await lease.cover(FREE_BYTES + (units + 1 << 20))
                held += 1
                most = max(most, held)
                await asyncio.sleep(0)
            held -= size

    async def read_all() -> None:
        budget = MemoryBudget()
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            for size in sizes:
                group.create_task(read(budget, size))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory, "SHARED_BYTES", 8 << 20)
        asyncio.run(read_all())
    assert most <= 8 + max(sizes, default=0)


def send_chunks(size: int) -> Script:
    """A body of so many MiB whose length is not said before."""
    return chain([CHUNKED], repeat(b"100000\r\n" + bytes(1 << 20) + b"\r\n", size), [b"0\r\n\r\n"])


def test_responses_that_wait_for_memory_are_complete_and_not_late(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory, "SHARED_BYTES", 1 << 20)
    paths = [f"/{number}" for number in range(12)]

    def send_slowly() -> Script:
        return chain(*([step, 0.1] for step in send_chunks(2)))

    with serve_raw(dict.fromkeys(paths, send_slowly)) as server:
        result = crawl_paths(tmp_path, server.address, *paths, max_bytes=2 << 20, timeout=1.5, per_host=12)
    assert not result.reasons
    assert len(result.read_body(f"{START}0")) == 2 << 20


@pytest.mark.sweep
def test_the_memory_of_64_large_responses_at_a_time(tmp_path: Path) -> None:
    paths = [f"/{number}" for number in range(64)]
    with serve_raw({path: lambda: send_chunks(31) for path in (*paths, "/small")}) as server:
        crawl_paths(tmp_path, server.address, "/small", max_bytes=1 << 20)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = crawl_paths(tmp_path, server.address, *paths, max_bytes=32 << 20, timeout=60.0, per_host=64)
    assert not result.reasons
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 <= 400_000_000


def find_gaps(server: RawServer) -> list[float]:
    """Return the seconds between any two requests that follow each other."""
    moments = sorted(chain.from_iterable(server.times.values()))
    return [after - before for before, after in pairwise(moments)]


@pytest.mark.parametrize("per_host", [1, 8])
def test_any_two_requests_of_a_host_are_a_delay_apart(tmp_path: Path, per_host: int) -> None:
    """robots.txt, pages, redirects and retries; the connection is slow to answer or is closed without an answer."""
    moved = b"HTTP/1.1 302 Found\r\nLocation: /c\r\nContent-Length: 0\r\n\r\n"
    scripts: dict[str, Script] = {
        "/a": [sized(BODY)],
        "/b": [moved],
        "/c": [0.5, sized(BODY)],
        "/closes": [],
        "/busy": [b"HTTP/1.1 503 Oh\r\nContent-Length: 0\r\n\r\n"],
    }
    with serve_raw({path: partial(iter, script) for path, script in scripts.items()}) as server:
        changes = {"delay": 0.25, "backoff": 0.0, "per_host": per_host}
        crawl_paths(tmp_path, server.address, "/a", "/b", "/closes", "/busy", **changes)
    assert [len(server.times[path]) for path in ("/robots.txt", *scripts)] == [1, 1, 1, 1, 3, 3]
    assert min(find_gaps(server)) >= 0.25


def test_a_delay_that_robots_txt_asks_for_holds_from_the_first_page_on(tmp_path: Path) -> None:
    rules = b"User-agent: *\nCrawl-delay: 0.3"
    with serve_raw({"/robots.txt": lambda: [sized(rules)], "/a": lambda: [sized(BODY)], "/b": lambda: []}) as server:
        crawl_paths(tmp_path, server.address, "/a", "/b", backoff=0.0)
    assert [len(server.times[path]) for path in ("/robots.txt", "/a", "/b")] == [1, 1, 3]
    assert min(find_gaps(server)) >= 0.3


def test_the_library_repeats_nothing_on_kept_connections(tmp_path: Path) -> None:
    """A server that closes each kept connection at its second request: that counts as one of those that a URL has."""
    paths = [f"/{number}" for number in range(6)]
    with serve_raw(dict.fromkeys(paths, lambda: [sized(BODY)]), kept=True) as server:
        for folder, retries in (("two", 1), ("one", 0)):
            (tmp_path / folder).mkdir()
            result = crawl_paths(tmp_path / folder, server.address, *paths, per_host=1, retries=retries, backoff=0.0)
            assert [len(server.times[path]) for path in paths] == (
                [1, 2, 2, 2, 2, 2] if retries else [2, 3, 3, 3, 3, 3]
            )
            assert set(result.reasons.values()) == (set() if retries else {"connection_failed"})


def test_a_pause_is_for_the_whole_host(tmp_path: Path) -> None:
    def answer(before: int) -> Reply:
        return IMAGE if before else Reply(status=429, headers={"Retry-After": "1"})

    routes: dict[str, Route] = {"/": answer, "/a": IMAGE, "/b": IMAGE}
    with serve(routes) as site:
        result = crawl_paths(tmp_path, site.address, "/", "/a", "/b", per_host=1)
    assert not result.reasons
    *earlier, _, _, _ = site.times  # files about the site, and the first request for /
    assert site.times[-3] - earlier[-1] >= 1.0


def test_a_host_that_asks_for_a_long_pause_is_left_alone(tmp_path: Path) -> None:
    busy = Reply(status=503, headers={"Retry-After": "3600"})
    routes: dict[str, Route] = {"/0": busy, **{f"/{number}": IMAGE for number in range(1, 9)}}
    with serve(routes) as site:
        result = crawl_paths(tmp_path, site.address, *(f"/{number}" for number in range(9)), per_host=1)
        assert [site.requests[path] for path in routes] == [1, *[0] * 8]
    assert set(result.reasons.values()) == {"http_error"}
    assert len(result.reasons) == 9
    assert {drop.limit for drop in result.drops if drop.key != f"{START}0"} == {"60"}


def test_a_real_host_needs_a_contact(tmp_path: Path) -> None:
    for agent in (PLACEHOLDER, "bot/1 (me@example.com)"):
        with pytest.raises(ParamsError, match=r"crawl.agent is .*name.invalid is not one of them.* \(\+https://your"):
            run_crawl(tmp_path, make_params(start=["http://name.invalid/"], agent=agent))
    with serve({"/": Reply(status=302, headers={"Location": "http://name.invalid/"})}) as site:
        result = run_crawl(tmp_path, make_params(address=site.address, agent=PLACEHOLDER))
        assert result.reasons == {START: "address_refused"}
        assert result.read_settings() == {START: "crawl.agent"}
        other = run_crawl(tmp_path / "other", make_params(address=site.address, agent="bot/1 (+https://crawler.test/)"))
        assert other.reasons == {START: "connection_failed"}


def test_defaults_are_polite_but_to_ones_own_machine() -> None:
    params = make_params(per_host=None, delay=None)
    assert (params.find_per_host(local=False), params.find_delay(local=False)) == (2, 1.0)
    assert (params.find_per_host(local=True), params.find_delay(local=True)) == (8, 0.0)
    assert make_params(delay=0.5).find_delay(local=True) == 0.5


def test_pages_and_their_images_come_over_kept_connections(tmp_path: Path) -> None:
    images = [f"/{number}.png" for number in range(20)]
    routes: dict[str, Route] = {"/": page("".join(f'<img src="{path}">' for path in images))}
    with serve({**routes, **dict.fromkeys(images, IMAGE)}) as site:
        assert not run_crawl(tmp_path, make_params(address=site.address, per_host=1)).reasons
        assert len(site.connections) <= 4  # others if the body of a 404 for a file about the site was late
