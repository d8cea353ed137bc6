"""Train on WebDataset tars of JPEG files and class numbers, cropped at random, and resume where it was stopped.

    python examples/train_webdataset.py 'imagenet-train-{000000..001281}.tar' checkpoint.pt --classes 1000 --epochs 90

The tars are as others wrote them: `<key>.jpg` and `<key>.cls`. Run it again after stopping it anywhere: it resumes at
the next batch, and ends with the same numbers.
"""

import argparse
from pathlib import Path

import torch
from torch import nn

from shardwright import Loader, ShardDataset, ops


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("urls", help="a folder, a file, or a pattern")
    options.add_argument("checkpoint", type=Path)
    options.add_argument("--classes", type=int, default=1000)
    options.add_argument("--epochs", type=int, default=3)
    options.add_argument("--batch-size", type=int, default=64)
    options.add_argument("--side", type=int, default=224)
    options.add_argument("--stop-after", type=int, default=0, help="stop after this many batches, to try resuming")
    args = options.parse_args()

    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    files = ShardDataset.from_webdataset(args.urls, members={"image": ("jpg", "jpeg", "png"), "label": "cls"})
    data = files.decode(image=ops.Image(ops.RandomResizedCrop(args.side), flip=0.5))
    loader = Loader(data, args.batch_size, shuffle=True, seed=0, device=device)
    normalize = ops.Normalize()
    model = nn.Sequential(
        nn.Conv2d(3, 32, 7, stride=4), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, args.classes)
    ).to(device)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
    if args.checkpoint.exists():
        saved = torch.load(args.checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])

    batches = 0
    while loader.epoch < args.epochs:
        for batch in loader:
            outputs = model(normalize(batch["image"]))
            losses = nn.functional.cross_entropy(outputs, batch["label"], reduction="none")
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
