"""Run `shardwright folds`: all folds of a cross-validation, one after the other, and a table of their scores."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.experiments.changed_params import add_option, parse_changes
from pipeline.experiments.cross_validation import cross_validate
from pipeline.lineage.verb import run_verb, write_lines
from pipeline.runtime.progress import say_line
from shardwright.cli.main import OK


def run(words: Sequence[str]) -> int:
    """Run `shardwright folds` and return its exit code: 0 all folds are done, 2 error."""
    parser = argparse.ArgumentParser(
        "shardwright folds",
        description="Trains and tests on each fold of align.folds, in a folder of its own, and writes data/8_folds: "
        "the scores of each, their mean and standard deviation, and those of all predictions together. When it was "
        "stopped, it goes on.",
    )
    add_option(parser, "a param for all folds, instead of its value in params.yaml: align.folds=5; may be repeated")
    options = parser.parse_args(words)
    return run_verb(lambda: _run_folds(options))


def _run_folds(options: argparse.Namespace) -> int:
    write_lines(cross_validate(Path.cwd(), parse_changes(options.changes), say_line))
    return OK
