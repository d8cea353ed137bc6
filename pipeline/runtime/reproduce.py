"""Run `dvc repro` for `make repro`: pass on what the stages print and DVC's own errors, but not its chatter.

`dvc repro --quiet` hides the errors too: that another run has the lock, that a folder is missing.
"""

import re
import signal
import subprocess
import sys
from collections.abc import Sequence

CHATTER = re.compile(
    r"$|Running stage '|> python -m stages\.|Stage '.*(didn't change|is cached)|(Updating|Generating) lock file '"
    r"|To track the changes with git|To enable auto staging|Use `dvc push`|\tgit add |\tdvc config "
)
"""The lines that DVC prints about what it does; those of a stage are its summary."""


def reproduce(arguments: Sequence[str]) -> int:
    """Run `dvc repro` with these arguments; return its exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to DVC too, which ends in its own way
    command = [sys.executable, "-m", "dvc", "repro", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, preexec_fn=_allow_interrupts) as dvc:
        assert dvc.stdout is not None
        for line in dvc.stdout:
            if not CHATTER.match(line.decode("utf-8", "replace").rstrip("\n")):
                sys.stdout.buffer.write(line)
                sys.stdout.buffer.flush()
    return dvc.returncode


def _allow_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)


if __name__ == "__main__":
    sys.exit(reproduce(sys.argv[1:]))
