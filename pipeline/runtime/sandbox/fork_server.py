"""Start the process that workers are forked from, and send it orders."""

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
from pipeline.runtime.sandbox.heartbeat import NO_ITEM, Heartbeat
from pipeline.runtime.sandbox.worker import Ended, SandboxWorker

ROOT = Path(__file__).resolve().parents[3]
"""The folder of this project's packages."""

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
"""One process a core, so one thread a library; and sums in BLAS are the same on every machine of a type. The libraries
read it when they are loaded, so it must be in the environment that a process starts with."""

GIVE_BACK = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""Return freed memory to the system in large pieces alone, else a process keeps what its largest item took. Small
pieces stay: asking for the memory of each image anew made extraction take half as long again."""

PROGRAM = (
    "import sys; sys.path[:] = sys.argv[2:]; "
    "from pipeline.runtime.sandbox.child_main import serve; serve(int(sys.argv[1]))"
)


class ForkServerDied(PipelineError):  # noqa: N818 - a fact, after which mostly another one is tried
    """The fork server is dead; a new one may be tried."""


class ForkServer:
    """A process with one thread that forks others on request; they end with it, and it ends with this process.

    It may be used from any thread. It is started anew, so it has nothing of this process's threads and locks.

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
            # This process handles Ctrl-C, which the terminal sends to the new process as well.
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
        """Return a new process with its watch.

        Raises:
            ForkServerDied: it was killed, before or meanwhile.
            PipelineError: the system allows no more processes.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as handles, self._lock:
            handles.enter_context(theirs)
            memory = _open_memory(Heartbeat.SIZE)
            handles.callback(os.close, memory)
            heartbeat = Heartbeat(memory)
            heartbeat.start(NO_ITEM)
            pid = self._order("fork", None, [theirs.fileno(), memory])
            if not isinstance(pid, int):
                ours.close()
                if pid is None:
                    raise ForkServerDied("no process can be started to work in; was the one that starts them killed?")
                raise PipelineError(f"no process can be started to work in: {os.strerror(pid.errno or 0)}")
            self._alive.add(pid)
            return SandboxWorker(pid, Connection(ours.detach()), heartbeat, self._end)

    def load(self, modules: Sequence[str]) -> bool:
        """Import modules, so that new processes have them; return whether it is safe to fork from it afterwards."""
        with self._lock:
            self._threads = self._order("load", list(modules))
        return bool(self._threads == 1)

    def is_safe(self) -> bool:
        """Wait for its preparation; return whether it is safe to fork from it."""
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
        """Return whether it can fork."""
        return self._process.poll() is None

    def _end(self, pid: int) -> Ended | None:
        with self._lock:
            if pid not in self._alive:
                return None
            self._alive.remove(pid)
            ended: Ended | None = self._order("end", pid)
            return ended

    def _order(self, order: str, argument: object, handles: Sequence[int] = ()) -> Any:
        """Return its answer to an order; None if it is dead."""
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
    """Return where this process finds its imports: the modules that a task needs may be anywhere among them."""
    paths = [os.path.abspath(path) for path in sys.path]  # noqa: PTH100 - Path.resolve would follow a venv's links
    return paths if str(ROOT) in paths else [str(ROOT), *paths]


def _open_memory(size: int) -> int:
    """Open a new file of zeros; in memory alone where the system has such files."""
    if sys.platform == "linux":
        handle = os.memfd_create("heartbeat")
    else:
        with tempfile.TemporaryFile() as file:
            handle = os.dup(file.fileno())
    os.ftruncate(handle, size)
    return handle
