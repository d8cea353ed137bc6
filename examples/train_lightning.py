"""Train on shards with Lightning: the loader's position is saved and restored with each checkpoint.

python examples/train_lightning.py data/5_shards
"""

import sys
from collections.abc import Iterable
from typing import Any

import lightning
import torch
from torch import nn

from shardwright import Loader, ShardDataset


class Shards(lightning.LightningDataModule):
    """A data module that saves the loader's position in each checkpoint."""

    def __init__(self, root: str, batch_size: int = 32) -> None:
        super().__init__()
        self.data = ShardDataset(root, "train")
        self.loader = Loader(self.data, batch_size, shuffle=True, seed=0)

    def train_dataloader(self) -> Iterable[dict[str, Any]]:
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
        losses = nn.functional.cross_entropy(
            self.linear(batch["image"].flatten(1).float() / 255), batch["label"], reduction="none"
        )
        return losses[batch["valid"]].mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def main(root: str, epochs: int = 2) -> None:
    shards = Shards(root)
    model = Model(shards.data.fields["image"].nbytes, len(shards.data.classes or ()) or 10)
    trainer = lightning.Trainer(max_epochs=epochs, accelerator="auto", logger=False, enable_progress_bar=False)
    trainer.fit(model, datamodule=shards)


if __name__ == "__main__":
    main(sys.argv[1])
