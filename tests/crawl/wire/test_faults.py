"""Test that a server's faults have the right reasons, within limits of bytes, time and requests."""

import asyncio
import socket
from collections import Counter
from pathlib import Path

import pytest

from tests.crawl.wire.fault_server import list_paths, serve_faults
from tests.crawl.wire.faults import BODY, FAULTS, MAX_BYTES
from tests.support.crawling import HOST, make_params, run_crawl

pytestmark = pytest.mark.slow


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Counter[int]:
    """The bytes that were read from each socket, by its local port."""
    counts: Counter[int] = Counter()
    read = asyncio.SelectorEventLoop.sock_recv

    async def count(self: asyncio.SelectorEventLoop, sock: socket.socket, n: int) -> bytes:
        port = sock.getsockname()[1]
        data = await read(self, sock, n)
        counts[port] += len(data)
        return data

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_recv", count)
    return counts


@pytest.mark.parametrize(("times", "timeout"), [(1, 4.0), pytest.param(8, 16.0, marks=pytest.mark.sweep)])
def test_each_fault_has_its_reason_within_the_limits(
    tmp_path: Path, received: Counter[int], times: int, timeout: float
) -> None:
    paths = list_paths(times)
    (tmp_path / "urls.txt").write_text("".join(f"http://{HOST}{path}\n" for path in paths))
    with serve_faults(times) as (address, stop):
        params = make_params(
            address=address, start=[], lists=[{"file": "urls.txt"}], lists_folder=str(tmp_path),
            max_bytes=MAX_BYTES, timeout=timeout, backoff=0.0, per_host=64,
        )  # fmt: skip
        result = run_crawl(tmp_path, params)
        held = stop()
    rows = result.rows
    reasons = {name: (rows[f"http://{HOST}{path}"]["reason"], len(held[path])) for path, name in paths.items()}
    assert reasons == {name: (reason, requests) for name, (_, reason, requests) in FAULTS.items()}
    assert max(received.values()) <= MAX_BYTES + (256 << 10)
    assert max(map(max, held.values())) <= timeout + 1
    for path, name in paths.items():
        if FAULTS[name][1] is None:
            assert result.read_body(f"http://{HOST}{path}").startswith(BODY)
