"""Train on shards with several processes, and resume where they were killed.

    torchrun --nproc-per-node 2 examples/resume_ddp.py data/5_shards checkpoint.pt

Run it again after killing it anywhere: it goes on after the last saved step, with the losses of a run that was not
killed. `train_ddp.py` is the same without saved states.
"""

import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from shardwright import Loader, ShardDataset

SAVE_EVERY = 3  # steps


def main(root: str, checkpoint: Path, epochs: int = 2) -> None:
    rank, world_size = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    torch.manual_seed(0)
    data = ShardDataset(root, "train")
    loader = Loader(data, 16, shuffle=True, seed=0, rank=rank, world_size=world_size, device=device)
    model = DistributedDataParallel(nn.Linear(data.fields["image"].nbytes, len(data.classes or ()) or 10).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    steps = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=device, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        steps = saved["steps"]
    while loader.epoch < epochs:
        for batch in loader:
            inputs = batch["image"].flatten(1).float() / 255
            losses = nn.functional.cross_entropy(model(inputs), batch["label"], reduction="none")
            loss = (losses * batch["valid"]).sum() / batch["valid"].sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            steps += 1
            mean = loss.detach() / world_size
            dist.all_reduce(mean)  # so every process is at this step, and none was killed in between, when it is saved
            if rank == 0:
                print(f"step {steps} of {epochs * len(loader)}: loss {float(mean):.9g}", flush=True)
                if steps % SAVE_EVERY == 0:
                    states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "steps": steps}
                    partial = checkpoint.with_suffix(".partial")
                    torch.save(states | {"loader": loader.state_dict()}, partial)
                    partial.replace(checkpoint)  # so that a process that is killed here leaves the one before


if __name__ == "__main__":
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    main(sys.argv[1], Path(sys.argv[2]))
    dist.destroy_process_group()  # only now: DDP must not be the last that holds the group
