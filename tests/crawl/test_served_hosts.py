"""Test hosts of `crawl.hosts` that a Python function serves while the crawl runs, such as the demo."""

import re
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.crawl.params import CrawlParams
from pipeline.errors import ParamsError, PipelineError
from pipeline.incremental.module_sources import find_source_files
from tests.support.crawling import HOST, START, make_params, run_crawl

pytestmark = pytest.mark.slow

DEMO: dict[str, Any] = {"serve": "demo.server:serve", "options": {"things": 60, "seed": 7, "slow_seconds": 30.0}}

MODULE = """
import contextlib
from tests.support.loopback import Reply, serve as serve_routes

STARTED = []

@contextlib.contextmanager
def serve(options, key):
    STARTED.append((options, key))
    with serve_routes({"/": Reply(options.get("body", "plain").encode())}) as site:
        yield site.address

@contextlib.contextmanager
def serve_far(options, key):
    yield "192.0.2.1:80"

@contextlib.contextmanager
def fail(options, key):
    raise OSError(98, "Address already in use")
    yield
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a module with functions that serve."""
    (tmp_path / "toy_servers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "toy_servers", raising=False)
    return "toy_servers"


def make_served(serve: str, **options: Any) -> CrawlParams:
    return make_params(hosts={HOST: {"serve": serve, "options": options}})


def test_the_demo_is_crawled_once_and_then_read_from_the_journal(tmp_path: Path) -> None:
    params = make_params(start=["http://demo.test/"], hosts={"demo.test": DEMO})
    first = run_crawl(tmp_path, params)
    second = run_crawl(tmp_path, params)
    assert first.outcome.kept > 150
    assert re.match("1[0-9][0-9] requests", first.outcome.notes[0])
    assert second.outcome.notes[0].startswith("0 requests")
    assert first.hash_files() == second.hash_files()


def test_a_server_starts_when_a_request_needs_it_and_the_options_are_part_of_the_journals_key(
    tmp_path: Path, module: str
) -> None:
    first = run_crawl(tmp_path, make_served(f"{module}:serve", body="one"))
    (tmp_path / "toy_servers.py").write_text(MODULE + "# an edit of the code is not part of the key\n")
    run_crawl(tmp_path, make_served(f"{module}:serve", body="one"))
    other = run_crawl(tmp_path, make_served(f"{module}:serve", body="two"))
    assert [
        ({"body": "one"}, f"crawl.hosts.{HOST}.options"),
        ({"body": "two"}, f"crawl.hosts.{HOST}.options"),
    ] == sys.modules[module].STARTED
    assert [first.read_body(START), other.read_body(START)] == [b"one", b"two"]


@pytest.mark.parametrize(
    ("serve", "message"),
    [
        ("toy_missing:serve", r"crawl\.hosts\.site\.test\.serve is toy_missing:serve.*no module toy_missing"),
        ("demo.missing:serve", r"crawl\.hosts\.site\.test\.serve is demo.missing:serve.*no module demo.missing"),
        ("toy_servers:missing", r"crawl\.hosts\.site\.test\.serve is .*toy_servers has no missing"),
        ("toy_servers:serve_far", r"which yielded '192\.0\.2\.1:80'; it must yield a loopback address"),
        ("toy_servers:fail", r"crawl\.hosts\.site\.test: .* cannot start: Address already in use"),
    ],
)
def test_a_function_that_cannot_serve_stops_the_crawl(tmp_path: Path, module: str, serve: str, message: str) -> None:
    with pytest.raises(PipelineError, match=message):
        run_crawl(tmp_path, make_served(serve))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"thing": 60}, r"crawl\.hosts\.site\.test\.options\.thing is not a known key; did you mean things"),
        ({"things": 5}, r"crawl\.hosts\.site\.test\.options\.things is 5; it must be at least 60"),
    ],
)
def test_the_demo_checks_its_options(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        run_crawl(tmp_path, make_served("demo.server:serve", **options))


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ({"serve": "demo.server"}, r'crawl\.hosts\.a\.test\.serve is "demo\.server"; it must match'),
        ({"serve": "a:b", "option": {}}, r"crawl\.hosts\.a\.test\.option is not a known key; did you mean options"),
        ({"options": {}}, r"crawl\.hosts\.a\.test\.serve is missing"),
    ],
)
def test_a_served_host_is_checked_before_any_work(host: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_params(hosts={"a.test": host})


def test_dvc_watches_no_code_that_serves_a_host() -> None:
    assert not [path for path in find_source_files("stages.crawl") if path.startswith("demo/")]
