"""What a disk refuses is no fault of the code: it becomes one line that says which path, why, and what to do."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import PipelineError

FREE_SPACE = "free some space there, or let run.cache name a folder on a larger disk"
RIGHTS = "give this user the right to write there"

ADVICE = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "the file system, or `ulimit -f`, allows no larger files",
    errno.EROFS: "it is mounted read-only",
    errno.EACCES: RIGHTS,
    errno.EPERM: RIGHTS,
    errno.EIO: "the disk does not work as it should",
}
"""What the person at the terminal can do about it. Any other error of the system is a fault of ours."""


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn what a disk refused inside into one message.

    Args:
        folder: named where the error itself names no file, as those of writing to an open one.

    Raises:
        PipelineError: the path, the system's words for the error, and what to do.
    """
    try:
        yield
    except (OSError, PipelineError, ExceptionGroup) as error:
        refused = _find_refusal(error)
        if refused is None:
            raise
        path = refused.filename2 or refused.filename or folder
        number = refused.errno or 0
        raise PipelineError(f"{path}: {os.strerror(number)}; {ADVICE[number]}, then run it again") from error


def _find_refusal(error: BaseException) -> OSError | None:
    """The disk's own error: this one, the first of several tasks that failed together, or what a worker died of."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause: BaseException | None = error
    while isinstance(cause, PipelineError):
        cause = cause.__cause__
    return cause if isinstance(cause, OSError) and cause.errno in ADVICE else None
