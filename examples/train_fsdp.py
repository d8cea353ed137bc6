"""Train a model that is divided among processes, with distributed checkpoints, and resume where it was killed.

    torchrun --nproc-per-node 4 examples/train_fsdp.py data/5_shards checkpoints 2

The third argument is the number of processes that divide each layer (tensor parallelism) and so read the same samples;
the model is sharded over the others (FSDP2). A loader is `Stateful` as it is: a distributed checkpoint, and so
torchtitan, saves and loads it beside the model and the optimizer.
"""

import sys
from pathlib import Path

import torch
from torch import distributed, nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_state_dict, set_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from shardwright import Loader, ShardDataset

SAVE_EVERY = 3  # steps


class Training:
    """The model and the optimizer, `Stateful` for a distributed checkpoint."""

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        self.model, self.optimizer = model, optimizer

    def state_dict(self) -> dict[str, object]:
        model, optimizer = get_state_dict(self.model, self.optimizer)
        return {"model": model, "optimizer": optimizer}

    def load_state_dict(self, state: dict[str, dict[str, object]]) -> None:
        set_state_dict(self.model, self.optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"])


def main(root: str, checkpoints: Path, tensor_parallel: int = 1, epochs: int = 2) -> None:
    device_type = "cuda" if torch.cuda.is_available() else "cpu"
    world_size = distributed.get_world_size()
    mesh = init_device_mesh(device_type, (world_size // tensor_parallel, tensor_parallel), mesh_dim_names=("dp", "tp"))
    data = ShardDataset(root, "train")
    loader = Loader(data, 16, shuffle=True, seed=0, dp_mesh=mesh["dp"], device=device_type)
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Linear(data.fields["image"].nbytes, 32), nn.ReLU(), nn.Linear(32, len(data.classes or ()) or 10)
    ).to(device_type)
    if tensor_parallel > 1:
        parallelize_module(model, mesh["tp"], {"0": ColwiseParallel(), "2": RowwiseParallel()})
    fully_shard(model, mesh=mesh["dp"])
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    states = {"training": Training(model, optimizer), "loader": loader}
    complete = sorted(path.parent for path in checkpoints.glob("step-*/.metadata"))  # which is written last
    if complete:
        checkpoint.load(states, checkpoint_id=complete[-1])

    while loader.epoch < epochs:
        for batch in loader:
            outputs = model(batch["image"].flatten(1).float() / 255)
            losses = nn.functional.cross_entropy(outputs, batch["label"], reduction="none")
            loss = (losses * batch["valid"]).sum() / batch["valid"].sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            mean = loss.detach()
            distributed.all_reduce(mean, distributed.ReduceOp.SUM)
            state = loader.state_dict()
            step = state["epoch"] * len(loader) + state["position"]
            if distributed.get_rank() == 0:
                print(f"step {step} of {epochs * len(loader)}: loss {float(mean) / world_size:.9g}", flush=True)
            if step % SAVE_EVERY == 0:
                checkpoint.save(states, checkpoint_id=checkpoints / f"step-{step:08}")


if __name__ == "__main__":
    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 1)
    distributed.destroy_process_group()  # only now: the model must not be the last that holds it
