"""Train on shards with several processes, each of which reads its share of every epoch.

    torchrun --nproc-per-node 2 examples/train_ddp.py data/5_shards

Every process makes the same number of steps, whatever the number of samples: padding has `valid` False.
"""

import os
import sys

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from shardwright import Loader, ShardDataset


def main(root: str, epochs: int = 2) -> None:
    rank, world_size = dist.get_rank(), dist.get_world_size()
    device = torch.device("cuda", int(os.environ["LOCAL_RANK"])) if torch.cuda.is_available() else torch.device("cpu")
    torch.manual_seed(0)
    data = ShardDataset(root, "train")
    loader = Loader(data, 16, shuffle=True, seed=0, rank=rank, world_size=world_size, device=device)
    model = DistributedDataParallel(nn.Linear(data.fields["image"].nbytes, len(data.classes or ()) or 10).to(device))
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    for epoch in range(epochs):
        seen = torch.zeros((), dtype=torch.int64, device=device)
        for batch in loader:
            inputs = batch["image"].flatten(1).float() / 255
            losses = nn.functional.cross_entropy(model(inputs), batch["label"], reduction="none")
            loss = (losses * batch["valid"]).sum() / batch["valid"].sum().clamp(min=1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            seen += batch["valid"].sum()
        dist.all_reduce(seen)
        if rank == 0:
            print(f"epoch {epoch}: {len(loader)} steps, {int(seen)} samples of {len(data)}")


if __name__ == "__main__":
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    main(sys.argv[1])
    dist.destroy_process_group()  # only now: DDP must not be the last that holds the group
