"""Train on shards in a plain PyTorch loop, and resume where it was stopped.

    python examples/train_plain.py data/5_shards checkpoint.pt --epochs 3

Run it again after stopping it anywhere: it resumes at the next batch, and ends with the same numbers.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from shardwright import Loader, ShardDataset


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("root", type=Path)
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--batch-size", type=int, default=32)
    options.add_argument("--stop-after", type=int, default=0, help="stop after this many batches, to try resuming")
    args = options.parse_args()

    torch.manual_seed(0)
    data = ShardDataset(args.root, "train")
    loader = Loader(data, args.batch_size, shuffle=True, seed=0)
    size = data.fields["image"].nbytes
    model = nn.Linear(size, len(data.classes or ()) or 10)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])

    batches = 0
    while loader.epoch < args.epochs:
        for batch in loader:
            inputs = batch["image"].flatten(1).float() / 255
            losses = nn.functional.cross_entropy(model(inputs), batch["label"], reduction="none")
            loss = losses[batch["valid"]].mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            batches += 1
            if batches == args.stop_after:
                break
        states = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "loader": loader.state_dict()}
        torch.save(states, args.checkpoint)
        if batches == args.stop_after:
            return
        print(f"epoch {loader.epoch}: loss {loss:.6f}")


if __name__ == "__main__":
    main()
