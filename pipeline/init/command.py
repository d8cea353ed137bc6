"""Run `shardwright init`: look at data, say what was found, and write a params file with which the pipeline runs."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.check_params import FILE
from pipeline.config.choose_params import has_changes
from pipeline.errors import ParamsError, PipelineError
from pipeline.init.describe import describe_outlook, describe_proposals, describe_survey
from pipeline.init.propose import propose
from pipeline.init.render_params import render_params
from shardwright.cli.main import OK, report_error, run_verb, write_line


def run(words: Sequence[str]) -> int:
    """Run `shardwright init` and return its exit code: 0 written, 2 error."""
    parser = argparse.ArgumentParser(
        "shardwright init",
        description="Looks at data, says what was found, and writes a params file with a comment for each guess.",
    )
    parser.add_argument("paths", metavar="PATH", type=Path, nargs="+", help="folders, archives, a table or a URL list")
    parser.add_argument("--output", metavar="FILE", type=Path, default=Path(FILE), help=f"default: {FILE}")
    parser.add_argument("--force", action="store_true", help="overwrite a params file that has uncommitted changes")
    options = parser.parse_args(words)
    try:
        return run_verb(lambda: _write_proposal(options.paths, options.output, options.force))
    except PipelineError as error:
        return report_error(str(error))


def _write_proposal(paths: Sequence[Path], output: Path, force: bool) -> int:
    if output.exists() and not force and has_changes(output):
        raise ParamsError(f"{output} has changes that are not committed: commit them, or say --force to lose them")
    inspection = propose(paths)
    for line in describe_survey(inspection):
        write_line(line)
    for line in describe_proposals(inspection):
        write_line(line)
    title = f"Proposed by `shardwright init {' '.join(map(str, paths))}`. `shardwright params` prints all values."
    text = render_params(inspection.keys, title)
    output.write_text(text, encoding="utf-8")
    for line in describe_outlook(inspection, output):
        write_line(line)
    return OK
