"""Train a multimodal model on the shards: `data/6_model`."""

import sys

from pipeline.runtime.run_stage import Stage, run_stage
from pipeline.tables.contracts import MODEL_FOLDER
from pipeline.tables.drops import Outcome
from pipeline.train.launch import start_or_follow
from pipeline.train.params import TrainParams
from pipeline.train.step import remove_states, train


def step(stage: Stage) -> Outcome:
    """Run the stage on its block of `params.yaml`."""
    return train(stage.read_block("train", TrainParams), stage.workspace)


if __name__ == "__main__":
    start_or_follow("stages.train")
    sys.exit(run_stage("train", [MODEL_FOLDER], step, remove_states))
