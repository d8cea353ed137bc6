"""Each measurement in a process of its own: what one leaves behind, no other one finds."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]
MARK = "outcome "
"""Begins the line that counts: other people's packages print what they like around it."""
SHOWN_LINES = 8


class FailedError(Exception):
    """A measurement ended badly; the message has the last lines of what it said."""


def write_outcome(outcome: Mapping[str, Any]) -> None:
    """Hand a result to the process that asked for it, see `run_apart`."""
    sys.stdout.write(f"\n{MARK}{json.dumps(outcome)}\n")
    sys.stdout.flush()


def run_apart(module: str, *arguments: object, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What `python -m module arguments` handed to `write_outcome`.

    Args:
        module, arguments: of the command.
        environment: variables beside those of this process.

    Raises:
        FailedError: it failed, or handed over nothing.
    """
    command = [sys.executable, "-W", "ignore", "-m", module, *map(str, arguments)]
    variables = os.environ | dict(environment or {})
    run = subprocess.run(
        command, cwd=CHECKOUT, env=variables, capture_output=True, text=True, errors="replace", check=False
    )
    outcomes = [line for line in run.stdout.splitlines() if line.startswith(MARK)]
    if run.returncode or not outcomes:
        said = "\n".join((run.stderr or run.stdout).strip().splitlines()[-SHOWN_LINES:])
        raise FailedError(f"{' '.join(command[4:])} ended with {run.returncode}:\n{said}")
    outcome: dict[str, Any] = json.loads(outcomes[-1].removeprefix(MARK))
    return outcome
