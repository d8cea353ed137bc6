"""Test the demo's server: it sends the rendered responses, and stopping it leaves nothing behind."""

import http.client
import re
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from demo.flaws import Flaw
from demo.options import DemoOptions
from demo.plan import Site, plan_site
from demo.renderers import THINGS_A_PROCESS, Renderers
from demo.server import serve_site
from demo.site import render
from tests.support.waiting import PATIENCE, wait_for

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site() -> Site:
    return plan_site(DemoOptions(things=60, seed=0, slow_seconds=3600.0))


def find_picture(site: Site, flaw: Flaw) -> str:
    picture = site.find_flawed(flaw)[0].picture
    assert picture is not None
    return picture.path


def fetch(port: int, path: str, method: str = "GET") -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    connection.request(method, path)
    response = connection.getresponse()
    status, body = response.status, response.read()
    connection.close()
    return status, body


@pytest.mark.parametrize("processes", [0, 2])
def test_the_server_sends_the_rendered_responses(site: Site, processes: int) -> None:
    paths = [thing.page for thing in site.things] + [find_picture(site, Flaw.ORIENTATION_6), "/nowhere"]
    paths += [thing.sound.path for thing in site.things[:12] if thing.sound]
    with serve_site(site, processes=processes) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda path: fetch(server.port, path), paths))
        for path, (status, body) in zip(paths, answers, strict=True):
            expected = render(site, path)
            assert (status, body) == (expected.status, expected.body)
            assert server.requests[path] == 1
        assert fetch(server.port, "/", "HEAD") == (200, b"")


def test_a_persistent_connection_serves_many_requests_and_the_flaky_url_recovers(site: Site) -> None:
    flaky = find_picture(site, Flaw.FLAKY_PICTURE)
    with serve_site(site) as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        statuses = []
        for path in (flaky, flaky, "/robots.txt", find_picture(site, Flaw.FAILING_PICTURE), flaky):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            statuses.append(response.status)
        connection.close()
    assert statuses == [503, 200, 200, 500, 200]


def test_stopping_leaves_no_thread_and_waits_for_no_client(site: Site) -> None:
    before = set(threading.enumerate())
    with serve_site(site) as server:
        idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        idle.request("GET", "/robots.txt")
        idle.getresponse().read()
        slow = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE)
        slow.request("GET", find_picture(site, Flaw.SLOW_PICTURE))
        wait_for(lambda: server.requests[find_picture(site, Flaw.SLOW_PICTURE)])
    assert not set(threading.enumerate()) - before
    idle.close()
    slow.close()


def test_processes_start_for_large_sites_alone_and_end_with_the_server(site: Site) -> None:
    assert not Renderers(site).processes
    large = replace(site, things=site.things * (THINGS_A_PROCESS // len(site.things)))
    with serve_site(large) as server:
        (process,) = server.renderers.processes
        assert fetch(server.port, find_picture(site, Flaw.ORIENTATION_1))[0] == 200
    assert process.exitcode == 0


def test_the_command_serves_until_interrupted() -> None:
    command = [sys.executable, "-m", "demo", "--things", "60"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        match = re.search(r"127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert match
        assert fetch(int(match[1]), "/")[0] == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE) == 0


def test_the_command_checks_its_options() -> None:
    run = subprocess.run([sys.executable, "-m", "demo", "--things", "5"], capture_output=True, text=True)
    assert run.returncode == 2
    assert "demo.things is 5; it must be at least 60" in run.stderr
