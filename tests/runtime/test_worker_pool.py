"""The processes that tasks run in: there is always one to be had, whatever was killed, and whenever."""

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.runtime.sandbox.find_bad_items import make_call, run_call
from pipeline.runtime.sandbox.fork_server import ForkServer, ForkServerDied
from pipeline.runtime.sandbox.worker import SandboxLimits, TaskCancelled
from pipeline.runtime.sandbox.worker_pool import SandboxPool

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="stops processes, and looks at them in /proc")


def name_parent(stay: Path | None) -> int:
    """What this process was forked from; it stays in `stay` for a minute, if there is one."""
    if stay is not None:
        stay.touch()
        time.sleep(60)
    return os.getppid()


def ask(host: SandboxPool, stay: Path | None = None) -> int:
    forker = run_call(host, make_call(name_parent, stay)).read("name_parent")
    assert isinstance(forker, int)
    return forker


def test_a_forker_that_is_killed_while_it_forks_is_replaced(tmp_path: Path) -> None:
    """The first process is busy, so the second call needs another, of a forker that has stopped and then dies."""
    host = SandboxPool(SandboxLimits(1 << 30, 100))

    def occupy() -> None:
        with suppress(TaskCancelled):
            ask(host, tmp_path / "busy")

    busy = threading.Thread(target=occupy)
    try:
        first = ask(host)
        busy.start()
        while not (tmp_path / "busy").exists():
            time.sleep(0.01)
        os.kill(first, signal.SIGSTOP)
        killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
        killer.start()
        assert ask(host) != first
        killer.join()
    finally:
        host.close()
        busy.join()


def test_a_dead_forker_says_so() -> None:
    forker = ForkServer()
    forker.close()
    with pytest.raises(ForkServerDied, match="no process can be started to work in; was the one"):
        forker.fork()
    assert issubclass(ForkServerDied, PipelineError)  # the end of a run, should the next one die too
