"""End this process with the one that started it."""

import ctypes
import sys


def end_with_parent(number: int) -> None:
    """Ask the kernel to send this process the signal `number` when its parent ends; only Linux can."""
    if sys.platform == "linux":
        set_parent_death_signal = 1  # PR_SET_PDEATHSIG in prctl(2)
        ctypes.CDLL(None).prctl(set_parent_death_signal, number)
