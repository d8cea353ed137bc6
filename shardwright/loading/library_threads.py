"""Keep the libraries that transforms call from starting threads of their own beside the loader's.

OpenCV and PyTorch divide one image or tensor among as many threads as there are cores, which wait for each other by
spinning: with several images read at a time that took 30 % more CPU time, measured. One thread also makes results
independent of the number of cores, where sums are divided.
"""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_lock = threading.Lock()
_users = 0
_before: int | None = None  # OpenCV's threads, once they were limited


@contextmanager
def limit_opencv() -> Iterator[None]:
    """Let OpenCV compute with one thread until the last of these blocks is left, in any thread; then as before.

    It is never imported for that: `apply_limit` is to be called again where it may have been imported meanwhile. The
    limit is one of the whole process. A number that is set within the block stays.
    """
    global _users, _before
    with _lock:
        _users += 1
    try:
        apply_limit()
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users and _before is not None:
                opencv: Any = sys.modules["cv2"]
                if opencv.getNumThreads() == 1:
                    opencv.setNumThreads(_before)
                _before = None


def apply_limit() -> None:
    """Limit OpenCV's threads, if it is imported and a `limit_opencv` block is under way that did not."""
    global _before
    opencv: Any = sys.modules.get("cv2")
    if _before is not None or not hasattr(opencv, "setNumThreads"):  # it is missing while it is being imported
        return
    with _lock:
        if _users and _before is None:
            _before = opencv.getNumThreads()
            opencv.setNumThreads(1)
