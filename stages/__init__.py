"""Entry points that DVC runs, one a stage."""

import sys
from types import TracebackType


def _report_interrupt(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print one line for Ctrl-C while a stage's libraries are imported, as `run_stage` does later."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted before the stage began\n")
    else:
        sys.__excepthook__(kind, error, trace)


if sys.argv[:1] == ["-m"]:  # `python -m stages.…`
    sys.excepthook = _report_interrupt
