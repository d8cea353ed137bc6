"""A second crawl of what has not changed, beside the first: seconds and bytes."""

import os
import shutil
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.support.copies import Copy


@dataclass(frozen=True)
class Pass:
    """The wall and CPU seconds of a crawl, start-up included, and the bytes that the server sent, headers included."""

    seconds: float
    cpu: float
    sent: int


def count_sent(port: int) -> int:
    """How many bytes the server has sent."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/bytes-sent") as response:
        return int(response.read())


def crawl_twice(copy: Copy, block: Mapping[str, Any], port: int) -> list[Pass]:
    """Crawl with an empty cache, then with another `refresh`, and return both."""
    shutil.rmtree(copy.folder / ".cache", ignore_errors=True)
    return [_crawl(copy, {**block, "refresh": refresh}, port) for refresh in (0, 1)]


def _crawl(copy: Copy, block: Mapping[str, Any], port: int) -> Pass:
    shutil.rmtree(copy.folder / "data", ignore_errors=True)
    copy.write_params({"crawl": block, "run": {"progress": False}})
    before, sent = os.times(), count_sent(port)
    run = copy.run_stages("crawl")
    after = os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Pass(run.wall, cpu, count_sent(port) - sent)


def describe(rounds: list[list[Pass]], urls: int) -> Iterator[str]:
    """Yield the lines of the page: the best round of each by CPU time."""
    first, second = (min((one[number] for one in rounds), key=lambda one: one.cpu) for number in (0, 1))
    yield f"## A second crawl of {urls:,} URLs that have not changed\n"
    yield "`crawl` alone, the second with another `crawl.refresh`; bytes that the server sent, with headers. Load"
    yield f"average at the end: {os.getloadavg()[1]:.0f} on {os.cpu_count()} cores.\n"
    yield "| | seconds | CPU seconds | bytes |"
    yield "| --- | --- | --- | --- |"
    for name, one in (("first", first), ("second", second)):
        yield f"| {name} | {one.seconds:.1f} | {one.cpu:.1f} | {one.sent:,} |"
    bytes_, seconds = second.sent / first.sent, second.seconds / first.seconds
    yield f"| second / first | {seconds:.2f} | {second.cpu / first.cpu:.2f} | {bytes_:.2%} |"
    yield "\nTargets: at most 0.6 of the time and 5 % of the bytes."
