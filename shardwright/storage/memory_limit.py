"""How much memory this process may use: the machine's, or less where a container or a job is held to less."""

import os
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def find_memory_limit(mount: Path = MOUNT, own: Path = OWN) -> int:
    """Bytes: the machine's memory, or the smallest limit of the control groups (version 1 and 2) of this process.

    Args:
        mount: where the control groups are mounted.
        own: the file with the groups of this process, a line `number:controllers:/path` each.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        lines = own.read_text(encoding="utf-8").splitlines()
    except OSError:  # not on macOS
        return physical
    limits = [physical]
    for _, controllers, group in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers in ("", "memory"):
            top, name = (mount / "memory", "memory.limit_in_bytes") if controllers else (mount, "memory.max")
            place = top / group.lstrip("/")
            # A group is held to the limits of those above it; in a container the path is not one of its own mount.
            limits += [_read_limit(folder / name, physical) for folder in (place, *place.parents)]
    return min(limits)


def _read_limit(path: Path, otherwise: int) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return otherwise
    return int(text) if text.isdigit() else otherwise  # "max"
