"""Group items into samples, resolve duplicates, and assign samples to splits: `data/4_aligned`."""

import sys

from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import ALIGNED_FOLDER
from pipeline.tables.drops import Outcome


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return align(stage.read_block("align", AlignParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("align", [ALIGNED_FOLDER], step))
