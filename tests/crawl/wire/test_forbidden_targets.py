"""Test that nothing connects to an address that is not public, by whatever way the crawl comes to it."""

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.crawl.address_blocks import IPV4_BLOCKS, IPV6_BLOCKS, METADATA, REACHABLE
from pipeline.crawl.addresses import is_public
from pipeline.formats.urls import canonicalize_url
from tests.crawl.wire.targets import FORBIDDEN, FORBIDDEN_IPV4, FORBIDDEN_IPV6, PUBLIC
from tests.support.crawling import START, Crawl, make_params, run_crawl
from tests.support.loopback import Reply, Route, Site, page, serve

pytestmark = pytest.mark.slow

Network = IPv4Network | IPv6Network

HOSTS = {canonicalize_url(f"http://{host}/").split("/")[2] for host in FORBIDDEN}
IMAGE = Reply(b"\x89PNG\r\n\x1a\n" + bytes(100), headers={"Content-Type": "image/png"})
BLOCKS: dict[Network, str] = {
    ip_network(str(block)): purpose for block, purpose in (*IPV4_BLOCKS.items(), *IPV6_BLOCKS.items())
}
REACHABLE_ALONE = ["192.31.196.0/24", "192.52.193.0/24", "192.175.48.0/24", "2620:4f:8000::/48"]
"""The blocks of the registries that are globally reachable and not within one that is not."""


def test_there_are_as_many_targets_as_were_promised() -> None:
    assert len(FORBIDDEN) >= 148
    assert len(set(PUBLIC)) >= 50


@given(data=st.data(), block=st.sampled_from(list(BLOCKS)))
def test_every_address_of_the_registries_is_refused(data: st.DataObject, block: Network) -> None:
    offset = data.draw(st.sampled_from([0, block.num_addresses - 1]) | st.integers(0, block.num_addresses - 1))
    assert is_public(block[offset]) == (str(block) in REACHABLE_ALONE)


@given(st.ip_addresses())
def test_a_public_address_is_global_for_python_too(address: IPv4Address | IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert not address.is_multicast


def test_the_metadata_of_clouds_and_blocks_that_are_reachable() -> None:
    assert not any(map(is_public, METADATA))
    assert {str(block) for block, purpose in BLOCKS.items() if purpose.startswith(REACHABLE)} > set(REACHABLE_ALONE)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_addresses_are_not_refused(address: str) -> None:
    assert is_public(ip_address(address))


class Connections:
    """Records every attempt to connect; those to other endpoints than `open` fail at once."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.tried: list[tuple[str, int]] = []
        self.open: set[tuple[str, int]] = set()
        connect = asyncio.SelectorEventLoop.sock_connect

        async def watch(loop: asyncio.SelectorEventLoop, sock: socket.socket, address: tuple[str, int]) -> None:
            if address[:2] in self.open:
                return await connect(loop, sock, address)
            self.tried.append(address[:2])
            raise ConnectionRefusedError

        patch.setattr(asyncio.SelectorEventLoop, "sock_connect", watch)

    def allow(self, site: Site) -> None:
        """Let connections to the test's own server through."""
        self.open.add(("127.0.0.1", site.server_port))


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Connections:
    return Connections(monkeypatch)


def crawl_urls(folder: Path, urls: Iterable[str], **changes: Any) -> Crawl:
    """Crawl a list of URLs, with one request for each."""
    (folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    lists = {"start": [], "lists": [{"file": "urls.txt"}], "lists_folder": str(folder)}
    return run_crawl(folder, make_params(**lists, retries=0, **changes))


def test_direct(tmp_path: Path, connections: Connections) -> None:
    result = crawl_urls(tmp_path, (f"{scheme}://{host}/" for host in FORBIDDEN for scheme in ("http", "https")))
    assert set(result.reasons.values()) == {"address_refused"}
    assert len(result.rows) == 2 * len(HOSTS)
    assert not connections.tried


def test_public_addresses_are_connected_to(tmp_path: Path, connections: Connections) -> None:
    hosts = [f"[{address}]" if ":" in address else address for address in PUBLIC]
    result = crawl_urls(tmp_path, (f"http://{host}/" for host in hosts))
    assert set(result.reasons.values()) == {"connection_failed"}
    assert {address for address, _ in connections.tried} == set(PUBLIC)


def test_redirects(tmp_path: Path, connections: Connections) -> None:
    routes: dict[str, Route] = {
        f"/{number}": Reply(status=302, headers={"Location": f"http://{host}/"})
        for number, host in enumerate(FORBIDDEN)
    }
    with serve(routes) as site:
        connections.allow(site)
        result = crawl_urls(tmp_path, (f"{START}{number}" for number in range(len(FORBIDDEN))), address=site.address)
    assert set(result.reasons.values()) == {"address_refused"}
    assert len(result.rows) == len(FORBIDDEN)
    assert not connections.tried


def test_redirects_of_robots_txt(tmp_path: Path, connections: Connections) -> None:
    def redirect(before: int) -> Reply:
        return Reply(status=301, headers={"Location": f"http://{FORBIDDEN[before]}/robots.txt"})

    with serve({"/robots.txt": redirect, "/": IMAGE}) as site:
        connections.allow(site)
        hosts = {f"host{number}.test": site.address for number in range(len(FORBIDDEN))}
        result = crawl_urls(tmp_path, (f"http://{host}/" for host in hosts), hosts=hosts)
        assert not site.requests["/"]
    assert set(result.reasons.values()) == {"address_refused"}
    assert not connections.tried


def test_links_of_a_page(tmp_path: Path, connections: Connections) -> None:
    links = "".join(f'<a href="http://{host}/">a</a><img src="http://{host}/a.png">' for host in FORBIDDEN)
    with serve({"/": page(links)}) as site:
        connections.allow(site)
        result = run_crawl(tmp_path, make_params(address=site.address))
    assert set(result.reasons) >= {f"http://{host}/a.png" for host in HOSTS}
    assert result.outcome.kept == 1
    assert not connections.tried


ANSWERS: dict[str, Callable[[str, int], list[str]]] = {
    "the address": lambda address, _: [address],
    "behind a public one": lambda address, _: [PUBLIC[3], address],
    "before a public one": lambda address, _: [address, PUBLIC[3]],
    "after a public one": lambda address, asked: [PUBLIC[3] if asked == 0 else address],
}
"""What a name server says, by the number of earlier questions for the name."""


@pytest.mark.parametrize("kind", ANSWERS)
def test_rebinding(tmp_path: Path, connections: Connections, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    addresses, asked = [*FORBIDDEN_IPV4, *FORBIDDEN_IPV6], Counter[str]()

    def look_up(name: str, *_: Any, **__: Any) -> list[tuple[Any, ...]]:
        address = addresses[int(name.removeprefix("name").removesuffix(".test"))]
        found = ANSWERS[kind](address, asked[name])
        asked[name] += 1
        return [(0, 0, 0, "", (text, 0)) for text in found]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    urls = [f"http://name{number}.test/{path}" for number in range(len(addresses)) for path in "ab"]
    result = crawl_urls(tmp_path, urls)
    assert set(result.reasons.values()) == {"connection_failed" if kind == "after a public one" else "address_refused"}
    assert {address for address, _ in connections.tried} <= {PUBLIC[3]}
    assert set(asked.values()) == {1}
