"""Evaluate the model on a split and write a report: `data/7_report`."""

import sys

from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.step import evaluate
from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import REPORT_FOLDER
from pipeline.tables.drops import Outcome


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return evaluate(stage.read_block("evaluate", EvaluateParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("evaluate", [REPORT_FOLDER], step))
