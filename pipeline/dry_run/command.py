"""Run `shardwright clean --dry-run`: what each rule of clean drops, with examples, and what each source keeps."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.clean.params import CleanParams
from pipeline.clean.step import clean
from pipeline.config.check_params import check_all_blocks, check_block, parse_params
from pipeline.config.params import RunParams
from pipeline.dry_run.drop_report import read_drops, write_report
from pipeline.experiments.changed_params import add_option, parse_changes
from pipeline.experiments.project_copy import render_params
from pipeline.lineage.verb import run_verb, write_lines
from pipeline.runtime.run_stage import explain_disk_errors, open_workspace
from pipeline.tables.contracts import CLEANED_FOLDER
from shardwright.cli.main import OK


def run(words: Sequence[str]) -> int:
    """Run `shardwright clean --dry-run` and return its exit code: 0 done, 2 error."""
    parser = argparse.ArgumentParser(
        "shardwright clean",
        description="Checks all items by the block clean of params.yaml, and prints what each rule would drop, with "
        "examples, and what of each source would be kept. data/ stays as it is; checks are cached for the next run.",
    )
    parser.add_argument("--dry-run", action="store_true", required=True, help="required: `dvc repro` runs the stage")
    parser.add_argument("--examples", metavar="N", type=int, default=3, help="examples of each rule; default: 3")
    add_option(parser, "a limit to try instead of that of params.yaml: clean.image.min_side=64; may be repeated")
    options = parser.parse_args(words)
    if options.examples < 0:
        parser.error(f"--examples is {options.examples}; it must be at least 0")
    return run_verb(lambda: _try(parse_changes(options.changes), options.examples))


def _try(changes: Mapping[str, Any], examples: int) -> int:
    blocks = parse_params(render_params(Path.cwd(), changes), "params.yaml with -S")
    check_all_blocks(blocks)
    run_params = check_block(blocks, "run", RunParams).model_copy(update={"allow_machine_drops": True})
    params = check_block(blocks, "clean", CleanParams).model_copy(update={"max_dropped": 1.0})
    with (
        explain_disk_errors(Path(run_params.cache)),
        open_workspace("clean-dry-run", Path("data"), run_params) as workspace,
    ):
        outcome = clean(params, workspace)
        drops = read_drops(workspace.work / CLEANED_FOLDER, workspace.data, run_params, workspace.work, examples)
    write_lines(write_report(outcome.seen, drops))
    return OK
