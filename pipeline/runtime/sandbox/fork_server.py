"""The process that others are forked from, seen from the one that started it."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pipeline.errors import PipelineError
from pipeline.runtime.sandbox.heartbeat import NOWHERE, Heartbeat
from pipeline.runtime.sandbox.worker import Ended, SandboxWorker

ROOT = Path(__file__).resolve().parents[3]
"""Where the packages of this project are."""

ONE_THREAD = dict.fromkeys(
    (
        "BLIS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "NUMBA_NUM_THREADS",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "OPENCV_FOR_THREADS_NUM",
        "RAYON_NUM_THREADS",
        "VECLIB_MAXIMUM_THREADS",
    ),
    "1",
)
"""One process a core, so one thread a library; and sums in BLAS are the same on every machine of a kind. The libraries
read it when they are loaded, so it must be in the environment that a process starts with."""

GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""Memory that is freed goes back to the system where it is much, else a process keeps what its largest item took. Where
it is little, it stays: asking for the memory of each picture anew made extraction take half as long again."""

PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from pipeline.runtime.sandbox.child_main import serve; serve(int(sys.argv[1]))"
)


class ForkServerDied(PipelineError):  # noqa: N818 - a fact, which mostly ends in another try
    """There is nothing any more to fork from; a new one may be tried."""


class ForkServer:
    """A process with one thread that forks others on demand; they end with it, and it ends with this one.

    For any thread. It is started here anew, so nothing of this process's threads and locks is in it.

    Args:
        prepare: a pickled function without arguments that it runs first, while this process goes on.
    """

    def __init__(self, prepare: bytes | None = None) -> None:
        self._lock = threading.Lock()
        self._preparing = prepare is not None
        self._threads = 1
        self._alive: set[int] = set()
        ours, theirs = socket.socketpair()
        with theirs:
            # Who starts it may be interrupted by Ctrl-C, which the terminal sends to this new process as well.
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", PROGRAM, str(theirs.fileno()), *_find_packages()],
                    env=os.environ | ONE_THREAD | GIVE_BACK,
                    stdin=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._channel = ours
        self._orders = Connection(os.dup(ours.fileno()))
        if prepare is not None:
            self._orders.send(("prepare", prepare))

    def fork(self) -> SandboxWorker:
        """A new process, and its watch.

        Raises:
            ForkerDied: it was killed, before or meanwhile.
            PipelineError: the system allows no more processes.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as handles, self._lock:
            handles.enter_context(theirs)
            mark = _open_memory(Heartbeat.SIZE)
            handles.callback(os.close, mark)
            watch = Heartbeat(mark)
            watch.start(NOWHERE)
            pid = self._order("fork", None, [theirs.fileno(), mark])
            if not isinstance(pid, int):
                ours.close()
                if pid is None:
                    raise ForkServerDied("no process can be started to work in; was the one that starts them killed?")
                raise PipelineError(f"no process can be started to work in: {os.strerror(pid.errno or 0)}")
            self._alive.add(pid)
            return SandboxWorker(pid, Connection(ours.detach()), watch, self._end)

    def load(self, modules: Sequence[str]) -> bool:
        """Import modules here, so that new processes have them; whether it is safe to fork from it afterwards."""
        with self._lock:
            self._threads = self._order("load", list(modules))
        return bool(self._threads == 1)

    def is_safe(self) -> bool:
        """Whether it is safe to fork from it; waits for its preparation."""
        with self._lock:
            self._finish_preparing()
        return self._threads == 1 and self.is_alive()

    def close(self) -> None:
        """End it and all its processes."""
        with self._lock:
            for pid in self._alive:
                self._order("end", pid)
            self._alive.clear()
            self._process.kill()
            self._process.wait()
            self._orders.close()
            self._channel.close()

    def is_alive(self) -> bool:
        """Whether it can fork."""
        return self._process.poll() is None

    def _end(self, pid: int) -> Ended | None:
        with self._lock:
            if pid not in self._alive:
                return None
            self._alive.remove(pid)
            ended: Ended | None = self._order("end", pid)
            return ended

    def _order(self, order: str, argument: object, handles: Sequence[int] = ()) -> Any:
        """Its answer; None if it is dead."""
        self._finish_preparing()
        with suppress(EOFError, ConnectionError, OSError):
            self._orders.send((order, argument))
            if handles:
                socket.send_fds(self._channel, [b"."], handles)
            return self._orders.recv()
        return None

    def _finish_preparing(self) -> None:
        if self._preparing:
            self._preparing = False
            with suppress(EOFError, ConnectionError, OSError):
                self._threads = self._orders.recv()


def _find_packages() -> list[str]:
    """Where this process finds what it imports; what it runs may be imported from anywhere."""
    paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - Path.resolve would follow a venv's links
    return paths if str(ROOT) in paths else [str(ROOT), *paths]


def _open_memory(size: int) -> int:
    """A new file of zeros that is nowhere on a disk, where the system has such."""
    if sys.platform == "linux":
        handle = os.memfd_create("mark")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle
