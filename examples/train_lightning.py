"""Train on shards with Lightning, and resume where it was killed.

    torchrun --nproc-per-node 2 examples/train_lightning.py data/5_shards checkpoints

Run it again after killing it anywhere: it goes on after the last checkpoint, with the losses of a run that was not
killed. A third argument, a number, ends each epoch after so many batches.
"""

import os
import sys
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from shardwright import Loader, ShardDataset


class Shards(lightning.LightningDataModule):
    """A data module that saves the loader's position in each checkpoint."""

    def __init__(self, root: str, batch_size: int = 16) -> None:
        super().__init__()
        self.data = ShardDataset(root, "train")
        self.batch_size = batch_size

    def setup(self, stage: str) -> None:
        limit = self.trainer.limit_train_batches
        self.loader = Loader(
            self.data,
            self.batch_size,
            shuffle=True,
            seed=0,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
            steps_per_epoch=limit if isinstance(limit, int) else None,  # 1.0, the default, is all of them
        )

    def train_dataloader(self) -> Loader:
        return self.loader

    def state_dict(self) -> dict[str, Any]:
        return self.loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.loader.load_state_dict(state_dict)


class Model(lightning.LightningModule):
    def __init__(self, size: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(size, classes)
        self.keys: list[str] = []

    def training_step(self, batch: dict[str, Any], _: int) -> torch.Tensor:
        self.keys += batch["key"]
        outputs = self.linear(batch["image"].flatten(1).float() / 255)
        losses = nn.functional.cross_entropy(outputs, batch["label"], reduction="none")
        loss = (losses * batch["valid"]).sum() / batch["valid"].sum().clamp(min=1)
        mean = float(self.all_gather(loss.detach()).mean())
        total = self.trainer.estimated_stepping_batches
        self.print(f"step {self.global_step + 1} of {total}: loss {mean:.9g}", flush=True)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def main(root: str, checkpoints: Path, limit: int | None = None, epochs: int = 2) -> None:
    lightning.seed_everything(0)
    shards = Shards(root)
    model = Model(shards.data.fields["image"].nbytes, len(shards.data.classes or ()) or 10)
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=int(os.environ.get("LOCAL_WORLD_SIZE", "1")),  # as torchrun was told
        max_epochs=epochs,
        limit_train_batches=limit,
        callbacks=[ModelCheckpoint(checkpoints, filename="{step:08}", every_n_train_steps=3, save_top_k=-1)],
        logger=False,
        enable_progress_bar=False,
    )
    complete = sorted(checkpoints.glob("step=*.ckpt"))
    trainer.fit(model, datamodule=shards, ckpt_path=complete[-1] if complete else None)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
