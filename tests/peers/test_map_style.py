"""Accelerate's data loader over `MapStyle`: other random numbers in each epoch."""

from pathlib import Path
from typing import Any

import pytest

from shardwright import MapStyle, ShardDataset
from tests.support.loader.sets import draw_numbers, write_numbers

pytestmark = pytest.mark.filterwarnings("ignore")  # warnings of other packages


def read_draws(root: Path, options: dict[str, Any], call: bool) -> list[dict[int, int]]:
    """Return the random number of each sample in three epochs; with `call`, the training sets them."""
    from accelerate import Accelerator
    from accelerate.data_loader import prepare_data_loader
    from torch.utils.data import DataLoader

    Accelerator(cpu=True)  # which its data loaders need
    data: Any = MapStyle(ShardDataset(root, "train").with_transform(draw_numbers), seed=7)
    shuffle = options.pop("shuffle")
    loader = prepare_data_loader(DataLoader(data, 2, shuffle=shuffle), put_on_device=False, rng_types=[], **options)
    epochs = []
    for epoch in range(3):
        if call:
            loader.set_epoch(epoch)
            data.set_epoch(epoch)
        epochs.append({n: d for b in loader for n, d in zip(b["n"].tolist(), b["draw"].tolist(), strict=True)})
    return epochs


@pytest.mark.parametrize("call", [False, True])
@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("sampler", ["in order", "shuffled", "seedable"])
def test_epochs_differ(tmp_path: Path, processes: int, sampler: str, call: bool) -> None:
    write_numbers(tmp_path, 24, 5)
    options = {"num_processes": processes, "process_index": 0, "use_seedable_sampler": sampler == "seedable"}
    epochs = read_draws(tmp_path, {**options, "shuffle": sampler != "in order"}, call)
    again = [n for n in epochs[0] if n in epochs[1]]
    assert again
    # With several processes and a seedable sampler, as the Trainer has it, Accelerate sets the sampler's epoch alone.
    same = processes == 2 and sampler == "seedable" and not call
    assert all((epochs[0][n] == epochs[1][n]) == same for n in again)
