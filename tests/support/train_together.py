"""Run by torchrun: train a model with each of several settings, sharded and not, in all processes together.

Args: the folder of the shards, JSON of the changes of the params by name, and a folder: for each name the leader writes
`NAME-none.safetensors` and `NAME-full.safetensors`, the weights of the best epoch, and `NAME-….json`, how many numbers
it held of the model and of what the optimizer keeps.
"""

import json
import sys
from pathlib import Path

import safetensors.torch
import torch
from torch import distributed

from pipeline.config.params import RunParams
from pipeline.models.checkpoint import BEST
from pipeline.train.step import Course, open_splits, plan_course, train_once
from pipeline.train.team import choose_type
from pipeline.train.training_log import TrainingLog
from pipeline.train.training_loop import Trainer
from tests.train.test_train import make_params


def train_together(data: Path, changes: dict[str, dict[str, object]], folder: Path) -> None:
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), distributed.get_world_size()
    for name, each in changes.items():
        for sharding in ("none", "full"):
            course = plan_course(make_params(**each, processes=size, sharding=sharding), *open_splits(data))
            assert isinstance(course, Course)
            team = choose_type(sharding)(rank, size)
            saved = folder / "states" / f"{name}-{sharding}"
            trainer, _ = train_once(course, team, saved, TrainingLog(None, RunParams()))
            if team.leads:
                safetensors.torch.save_file(trainer.published[BEST], folder / f"{name}-{sharding}.safetensors")
                (folder / f"{name}-{sharding}.json").write_text(json.dumps({"held": count_held(trainer)}))
    distributed.destroy_process_group()


def count_held(trainer: Trainer) -> int:
    """Return how many numbers this process holds of the parameters and of what the optimizer keeps of them."""
    kept = [value for values in trainer.optimizer.state.values() for value in values.values()]
    tensors = [*trainer.model.parameters(), *(value for value in kept if isinstance(value, torch.Tensor))]
    return sum(getattr(value, "_local_tensor", value).numel() for value in tensors)


if __name__ == "__main__":
    train_together(Path(sys.argv[1]), json.loads(sys.argv[2]), Path(sys.argv[3]))
