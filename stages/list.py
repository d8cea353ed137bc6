"""List the files of all sources with their hashes: `data/0_listed`. It runs each time, and reads what is new."""

import sys

from pipeline.ingest.params import IngestParams
from pipeline.list.step import list_inputs
from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import LISTED_FOLDER
from pipeline.tables.drops import Outcome


def step(stage: Stage) -> Outcome:
    """Run the stage on the block `ingest` of `params.yaml`; DVC need not watch it, as the stage always runs."""
    return list_inputs(stage.read_block("ingest", IngestParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("list", [LISTED_FOLDER], step))
