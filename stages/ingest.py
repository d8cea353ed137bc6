"""Give every crawled response and local file an identity and a type: `data/2_ingested`."""

import sys

from pipeline.ingest.params import IngestParams
from pipeline.ingest.step import ingest
from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import INGESTED_FOLDER
from pipeline.tables.drops import Outcome


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return ingest(stage.read_block("ingest", IngestParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("ingest", [INGESTED_FOLDER], step))
