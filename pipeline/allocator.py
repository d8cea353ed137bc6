"""What is freed goes back to the system: a stage's memory is what it holds, not what it once held."""

import ctypes
import os
import sys
from contextlib import suppress

ARRAY_BYTES = 1 << 20
"""From this size on a block of memory is the system's own. glibc begins at 128 kB, and raises it to the largest block
that was ever freed: arrays then lie between other things, and stay. Planning 100,000 samples kept 117 MB so, and 88."""

M_MMAP_THRESHOLD = -3
"""The parameter of mallopt(3)."""


def give_arrays_back() -> None:
    """Have arrays and tables of this process go back to the system when they are freed, where the C library can; to be
    called before Arrow is imported, whose own pool keeps much."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        with suppress(AttributeError):  # not glibc
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, ARRAY_BYTES)
