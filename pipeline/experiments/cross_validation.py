"""Run all folds of `align.folds`, one after the other, each in a folder of its own, and sum up their scores.

Each is a build: what is up to date is not run again, so a cross-validation that was stopped goes on with the fold that
it had come to, and its training with the step that it had saved.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipeline.align.params import AlignParams
from pipeline.config.check_params import check_block, read_params
from pipeline.config.choose_params import PARAMS
from pipeline.config.params import RunParams
from pipeline.errors import InputError, ParamsError
from pipeline.evaluate.params import EvaluateParams
from pipeline.experiments.fold_report import FoldScores, select_numbers, write_fold_report
from pipeline.experiments.pool_predictions import pool_predictions
from pipeline.experiments.project_copy import ProjectCopy, find_experiments, open_copy
from pipeline.models.untrained import read_untrained
from pipeline.tables.contracts import ALIGNED_FOLDS, FOLDS, MODEL_FOLDER, REPORT_FOLDER
from pipeline.tables.table_files import read_table

FOLDS_REPORT = "8_folds"
"""The folder of the report on all folds, in the project's `data/`."""


def cross_validate(project: Path, changes: Mapping[str, Any], say: Callable[[str], None]) -> list[str]:
    """Run all folds and write `data/8_folds/`; return the lines of its table.

    Args:
        project: the folder of the project.
        changes: values by the full names of params, in place of those in `params.yaml`.
        say: writes a line about what is done.

    Raises:
        ParamsError: the params are wrong, or say nothing of folds.
        InputError: there is nothing to learn.
        BuildError: a stage failed, whose own message is on stderr.
    """
    root = find_experiments(project, "folds")
    first = open_copy(project, root / "0", {**changes, "align.fold": 0})
    if check_block(read_params(first.folder / PARAMS), "align", AlignParams).folds is None:
        raise ParamsError(
            "align.folds is null; it must be a number of folds, by_group or by_split: see docs/experiments.md"
        )
    first.build(["align"])
    folds = read_table(first.data / ALIGNED_FOLDS, FOLDS)
    copies = [open_copy(project, root / str(fold["fold"]), {**changes, "align.fold": fold["fold"]}) for fold in folds]
    scores = []
    for copy, fold in zip(copies, folds, strict=True):
        called = "" if fold["name"] is None else f", {fold['name']}"
        say(f"fold {fold['fold']} of {len(folds)} from 0 on{called}: {fold['samples']} samples to test")
        copy.build()
        scores.append(FoldScores(fold["fold"], fold["name"], read_scores(copy.data)))
    return report_folds(copies, scores, project / "data" / FOLDS_REPORT)


def read_scores(data: Path) -> dict[str, float | None]:
    """Return the numbers that a report gives for a split, by name; a user's own metrics are among them.

    Raises:
        InputError: nothing was trained.
    """
    untrained = read_untrained(data / MODEL_FOLDER)
    if untrained is not None:
        raise InputError(untrained.reason)
    return select_numbers(json.loads((data / REPORT_FOLDER / "metrics.json").read_bytes()))


def report_folds(copies: Sequence[ProjectCopy], scores: Sequence[FoldScores], folder: Path) -> list[str]:
    """Write the report on all folds as `folder`, in place of an earlier one; return its lines for the terminal."""
    blocks = read_params(copies[0].folder / PARAMS)
    params, run = check_block(blocks, "evaluate", EvaluateParams), check_block(blocks, "run", RunParams)
    with tempfile.TemporaryDirectory(dir=copies[0].folder.parent) as name:
        columns, made = Path(name) / "columns", Path(name) / folder.name
        columns.mkdir()
        pooled = pool_predictions([copy.data for copy in copies], params, run, columns)
        lines = write_fold_report(made, scores, pooled)
        if folder.exists():
            shutil.rmtree(folder)
        folder.parent.mkdir(exist_ok=True)
        shutil.move(made, folder)
    return [*lines, f"wrote {os.path.relpath(folder)}: index.html, folds.tsv, folds.json"]
