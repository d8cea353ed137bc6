"""Look at other processes, for tests of how they end. Linux alone: it reads /proc."""

from pathlib import Path


def is_alive(pid: int) -> bool:
    """Return whether the process exists and has not ended, waited for or not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # gone before the file is opened, or between that and the reading
        return False
