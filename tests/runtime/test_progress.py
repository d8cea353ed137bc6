"""Progress bars: all elements pass; a terminal shows rate, remaining time and outcomes, a log nothing."""

import io
import sys
import time
from collections.abc import Iterator, Mapping

import pytest

from pipeline.config.params import RunParams
from pipeline.runtime.progress import show_progress

THINGS = [(10, {"kept": 8, "flat": 2}), (30, {"kept": 30})]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def show(progress: bool) -> None:
    run = RunParams(workers=0, memory="1 GiB", cache=".cache", progress=progress)
    assert list(show_progress(work(), 40, "items", run, lambda thing: thing)) == THINGS


def work() -> Iterator[tuple[int, Mapping[str, int]]]:
    for thing in THINGS:
        time.sleep(0.12)  # a bar is drawn ten times a second at most
        yield thing


def test_a_terminal_sees_work_and_outcomes(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    show(progress=True)
    said = terminal.getvalue()
    assert "10/40" in said
    assert "items/s, kept 8, flat 2]" in said
    assert "kept 38, flat 2]" in said


def test_a_log_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, progress in ((Terminal(), False), (io.StringIO(), True)):
        monkeypatch.setattr(sys, "stderr", stream)
        show(progress)
        assert stream.getvalue() == ""
