"""Worker processes: there is always one, whatever was killed, and whenever."""

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

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="stops processes, and looks at them in /proc"),
]


def name_parent(stay: Path | None) -> int:
    """What this process was forked from; it stays in `stay` for a minute, if there is one."""
    if stay is not None:
        stay.touch()
        time.sleep(60)
    return os.getppid()


def ask(pool: SandboxPool, stay: Path | None = None) -> int:
    server = run_call(pool, make_call(name_parent, stay)).read("name_parent")
    assert isinstance(server, int)
    return server


def test_a_fork_server_killed_while_it_forks_is_replaced(tmp_path: Path) -> None:
    """The first process is busy, so the second call needs another, of a server that has stopped and then dies."""
    pool = SandboxPool(SandboxLimits(1 << 30, 100))

    def occupy() -> None:
        with suppress(TaskCancelled):
            ask(pool, tmp_path / "busy")

    busy = threading.Thread(target=occupy)
    try:
        first = ask(pool)
        busy.start()
        while not (tmp_path / "busy").exists():
            time.sleep(0.01)
        os.kill(first, signal.SIGSTOP)
        killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
        killer.start()
        assert ask(pool) != first
        killer.join()
    finally:
        pool.close()
        busy.join()


def test_a_dead_fork_server_raises() -> None:
    server = ForkServer()
    server.close()
    with pytest.raises(ForkServerDied, match="no process can be started to work in; was the one"):
        server.fork()
    assert issubclass(ForkServerDied, PipelineError)  # the end of a run, should the next one die too
