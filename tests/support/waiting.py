"""Wait for what happens soon, with a limit that a busy machine does not reach and a fault does."""

import time
from collections.abc import Callable

PATIENCE = 120.0
"""Seconds. Starting a process that imports everything takes 3 s, and ten times as long among many others."""


def wait_for(condition: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until the condition holds.

    Raises:
        AssertionError: it does not within so many seconds.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s"
        time.sleep(0.01)
