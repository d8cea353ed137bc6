"""A control group that holds the processes in it to so much memory, page cache included, and says if it had to."""

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from benchmarks.support.apart import CHECKOUT

MOUNT = Path("/sys/fs/cgroup")
NAME = "shardwright-bench"


class NoGroupError(Exception):
    """No control group for memory is to be had here; the message says why."""


@dataclass(frozen=True)
class MemoryGroup:
    """A folder of the kernel's; `version` is that of its files, 1 or 2."""

    folder: Path
    version: int

    def run(self, command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
        """Run a command that is in the group from its first instruction on."""
        enter = ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.folder), *command]
        return subprocess.run(enter, cwd=CHECKOUT, capture_output=True, text=True, errors="replace", check=False)

    def count_failures(self) -> int:
        """How often an allocation met the limit, so that something had to go first: `memory.failcnt`, or `max`."""
        if self.version == 1:
            return int((self.folder / "memory.failcnt").read_text())
        events = (self.folder / "memory.events").read_text().split()
        return int(events[events.index("max") + 1])

    def find_peak(self) -> int | None:
        """The most bytes that were in use at once; None where the kernel does not tell."""
        path = self.folder / ("memory.max_usage_in_bytes" if self.version == 1 else "memory.peak")
        return int(path.read_text()) if path.exists() else None


@contextmanager
def limit_memory(limit: int) -> Iterator[MemoryGroup]:
    """A fresh group of that many bytes.

    Raises:
        NoGroupError: this process may not make one.
    """
    try:
        group = _make_group(limit)
    except OSError as error:
        raise NoGroupError(f"no control group for memory can be made here (it takes root): {error}") from error
    try:
        yield group
    finally:
        with suppress(OSError):  # what is left of the page cache goes to the group above
            group.folder.rmdir()


def drop_caches() -> None:
    """Make the operating system forget all that it keeps of files.

    Raises:
        NoGroupError: this process may not.
    """
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")
    except OSError as error:
        raise NoGroupError(f"the page cache cannot be emptied (it takes root): {error}") from error


def _make_group(limit: int) -> MemoryGroup:
    name = f"{NAME}-{os.getpid()}"
    if (MOUNT / "memory" / "memory.limit_in_bytes").exists():
        group = MemoryGroup(MOUNT / "memory" / name, 1)
        limits = {"memory.limit_in_bytes": limit, "memory.swappiness": 0}
    elif "memory" in (MOUNT / "cgroup.controllers").read_text(encoding="ascii").split():
        group = MemoryGroup(MOUNT / name, 2)
        limits = {"memory.max": limit, "memory.swap.max": 0}
        (MOUNT / "cgroup.subtree_control").write_text("+memory", encoding="ascii")
    else:
        raise FileNotFoundError(f"{MOUNT} does not limit memory")
    group.folder.mkdir()
    try:
        for file, value in limits.items():
            if file != "memory.swap.max" or (group.folder / file).exists():  # a kernel without swap has none
                (group.folder / file).write_text(str(value), encoding="ascii")
    except OSError:
        group.folder.rmdir()
        raise
    return group
