"""Compute features of the aligned samples and write them as shards: `data/5_shards` and `data/5_extract`."""

import sys

from pipeline.extract.params import ExtractParams
from pipeline.extract.step import extract
from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import EXTRACT_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return extract(stage.read_block("extract", ExtractParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("extract", [SHARDS_FOLDER, EXTRACT_FOLDER], step))
