"""Trains a multimodal classifier on the shards: `data/5_shards` to `data/6_model`."""

import sys

from pipeline.contracts import MODEL_FOLDER
from pipeline.records import Outcome
from pipeline.stage import Stage, run_stage
from pipeline.train.params import TrainParams
from pipeline.train.training import train


def step(stage: Stage) -> Outcome:
    """Read the stage's block and do its work."""
    return train(stage.read_block("train", TrainParams), stage.workspace)


if __name__ == "__main__":
    sys.exit(run_stage("train", [MODEL_FOLDER], step))
