"""Look at other processes, for tests of how they end. Linux alone: it reads /proc.

A process may end at any moment, also between opening a file of its folder and reading it: it counts as gone then.
"""

import os
import signal
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tests.support.waiting import wait_for

PROC = Path("/proc")


def read_proc(pid: int | str, file: str) -> str | None:
    """Return the content of a file in the process's folder; None if the process has ended."""
    try:
        return (PROC / str(pid) / file).read_text(encoding="utf-8", errors="surrogateescape")
    except (FileNotFoundError, ProcessLookupError):
        return None


def read_state(pid: int | str) -> tuple[str, int] | None:
    """Return the state, `Z` for one that has ended and was not waited for, and the parent; None if it is gone."""
    stat = read_proc(pid, "stat")
    if stat is None:
        return None
    state, parent, *_ = stat.rpartition(")")[2].split()
    return state, int(parent)


def is_alive(pid: int) -> bool:
    """Return whether the process exists and has not ended, waited for or not."""
    state = read_state(pid)
    return state is not None and state[0] != "Z"


def list_children(pid: int) -> list[int]:
    """Return all descendants of a process."""
    states = {int(path.name): read_state(path.name) for path in PROC.glob("[0-9]*")}
    found = [pid]
    for parent in found:
        found += [child for child, state in states.items() if state is not None and state[1] == parent]
    return found[1:]


def list_processes_in(folder: Path) -> list[int]:
    """Return the processes whose current folder lies in `folder`."""
    found = []
    for process in PROC.glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is somebody else's
            if process.joinpath("cwd").readlink().is_relative_to(folder):
                found.append(int(process.name))
    return found


def list_listening_addresses(pids: Iterable[int]) -> list[str]:
    """Return the IP addresses at which the processes wait for connections. Needs psutil."""
    import psutil  # type: ignore[import-untyped]

    found: list[str] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            ports = psutil.Process(pid).net_connections("inet")
            found += [port.laddr.ip for port in ports if port.status == psutil.CONN_LISTEN]
    return found


def kill(pid: int) -> None:
    """Kill a process, if it has not ended by itself."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def wait_until_gone(pids: Iterable[int]) -> None:
    """Wait until none of the processes is alive."""
    left = list(pids)
    wait_for(lambda: not any(map(is_alive, left)))
