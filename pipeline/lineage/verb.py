"""Run the commands `why` and `diff`: their output, exit codes and error lines."""

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from pipeline.errors import PipelineError
from shardwright.cli import main
from shardwright.cli.main import report_error, write_line

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def run_verb(act: Callable[[], int]) -> int:
    """Return the exit code of a command; an error is one line on stderr and the code 2."""
    try:
        return main.run_verb(act)
    except PipelineError as error:
        return report_error(str(error))


def write_lines(lines: Iterable[str]) -> None:
    """Write lines for people."""
    for line in lines:
        write_line(line)


def write_json(value: "DataclassInstance") -> None:
    """Write a record as one JSON object, in ASCII and without control characters."""
    for line in json.dumps(asdict(value), indent=1).replace("\x7f", "\\u007f").split("\n"):
        write_line(line)
