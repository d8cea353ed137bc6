"""Give every crawled response and local file an identity and a type: `data/2_ingested`."""

import sys

from pipeline.contracts import INGESTED_FOLDER
from pipeline.ingest.params import IngestParams
from pipeline.ingest.step import ingest
from pipeline.records import Outcome
from pipeline.stage import Stage, run_stage


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return ingest(stage.read_block("ingest", IngestParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("ingest", [INGESTED_FOLDER], step))
