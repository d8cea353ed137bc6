"""Find the memory that this process may use: the machine's, or the limit of its container or job."""

import os
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
GROUPS = Path("/proc/self/cgroup")


def find_memory_limit(mount: Path = MOUNT, groups: Path = GROUPS) -> int:
    """Return, in bytes, the machine's memory or the smallest limit of this process's control groups (version 1 or 2).

    Args:
        mount: the mount point of the control groups.
        groups: the file that lists the groups of this process, a line `number:controllers:/path` each.
    """
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    try:
        lines = groups.read_text(encoding="utf-8").splitlines()
    except OSError:  # macOS has none
        return physical
    limits = [physical]
    for _, controllers, group in (line.split(":", 2) for line in lines if line.count(":") >= 2):
        if controllers in ("", "memory"):
            top, name = (mount / "memory", "memory.limit_in_bytes") if controllers else (mount, "memory.max")
            folder = top / group.lstrip("/")
            # The limits of all groups above apply too; in a container the path may not exist below its own mount.
            limits += [_read_limit(parent / name, physical) for parent in (folder, *folder.parents)]
    return min(limits)


def _read_limit(path: Path, default: int) -> int:
    try:
        text = path.read_text(encoding="ascii").strip()
    except OSError:
        return default
    return int(text) if text.isdigit() else default  # "max"
