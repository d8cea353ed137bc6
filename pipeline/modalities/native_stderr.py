"""Silence C libraries that write about damaged files straight to the terminal, past Python and past any setting."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_STDERR = 2
_one_at_a_time = threading.Lock()  # two threads that restored each other's stderr would lose it


@contextmanager
def silence_stderr() -> Iterator[None]:
    """Discard what this process writes to its standard error stream meanwhile. Costs some 10 µs.

    libpng and libjpeg print there ("Corrupt JPEG data: premature end of data segment"), and OpenCV offers no way to
    stop them. Whether a file is damaged is known from what the decoder returns.
    """
    with _one_at_a_time:
        try:
            saved = os.dup(_STDERR)
        except OSError:  # no such stream: nothing to silence
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, _STDERR)
            yield
        finally:
            os.dup2(saved, _STDERR)
            os.close(saved)
            os.close(nowhere)
