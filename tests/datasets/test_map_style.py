"""PyTorch's own loader gets other random numbers each epoch, also in its worker processes: those of `Loader`."""

from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from shardwright import Loader, MapStyle, ShardDataset
from tests.support.loader.sets import draw_numbers, write_numbers

COUNT = 12


@pytest.mark.slow
@pytest.mark.parametrize("workers", [0, 2])
def test_each_epoch_has_the_numbers_that_loader_draws(tmp_path: Path, workers: int) -> None:
    write_numbers(tmp_path, COUNT, 5)
    with ShardDataset(tmp_path, "train") as data:
        view = data.with_transform(draw_numbers)
        expected = Loader(view, 4, shuffle=False, seed=7)
        dataset: Any = MapStyle(view, seed=7)
        loader = DataLoader(dataset, 4, num_workers=workers, persistent_workers=workers > 0)
        for epoch in range(3):
            dataset.set_epoch(epoch)
            found = [batch["draw"].tolist() for batch in loader]
            assert found == [batch["draw"].tolist() for batch in expected]


def test_epochs_are_numbers_from_0(tmp_path: Path) -> None:
    write_numbers(tmp_path, COUNT, 5)
    with ShardDataset(tmp_path, "train") as data:
        dataset = MapStyle(data.with_transform(draw_numbers))
        assert (len(dataset), dataset.epoch) == (COUNT, 0)
        first = dataset[3]["draw"]
        dataset.set_epoch(1)
        assert dataset[3]["draw"] != first
        with pytest.raises(ValueError, match="epoch is -1"):
            dataset.set_epoch(-1)
        with pytest.raises(IndexError):
            dataset[COUNT]
