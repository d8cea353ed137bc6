"""Check every ingested item, remove metadata and personal data, mark duplicates: `data/3_cleaned`."""

import sys

from pipeline.clean.params import CleanParams
from pipeline.clean.step import clean
from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import CLEANED_FOLDER
from pipeline.tables.drops import Outcome


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return clean(stage.read_block("clean", CleanParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("clean", [CLEANED_FOLDER], step))
