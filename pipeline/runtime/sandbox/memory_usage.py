"""Measure the memory that a process has for itself: files that it maps are not counted."""

import os
import sys
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")


def measure_memory(pid: int) -> int | None:
    """Return the bytes of memory that a process has for itself; None if it is dead."""
    if sys.platform == "linux":
        try:
            statm = Path(f"/proc/{pid}/statm").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            return None
        return _read_statm(statm) or None
    else:
        import psutil

        try:
            return int(psutil.Process(pid).memory_info().rss)
        except psutil.Error:
            return None


class MemoryMeter:
    """Measures the process that creates it, in 2 µs."""

    def __init__(self) -> None:
        self._statm = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC) if sys.platform == "linux" else None

    def read(self) -> int | None:
        """Return the bytes of memory that the process has for itself; None where that takes long to find out."""
        return None if self._statm is None else _read_statm(os.pread(self._statm, 128, 0))


def _read_statm(statm: bytes) -> int:
    _, resident, shared, *_ = statm.split()
    return (int(resident) - int(shared)) * _PAGE


def count_memory_kills() -> int:
    """Return how many processes the kernel has killed since it started because memory ran out; 0 if not known."""
    try:
        lines = Path("/proc/vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))
