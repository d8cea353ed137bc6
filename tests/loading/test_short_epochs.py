"""Epochs that end after a number of steps, epochs without a batch, and the ranks of a device mesh."""

import logging
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
import torch.distributed as dist

from shardwright import Loader, ShardDataset
from shardwright.loading.batch_plan import RankShares
from tests.support.loader.sets import BLOCKS, write_numbers

COUNT = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("numbers")
    write_numbers(root, COUNT, 8)
    with ShardDataset(root, "train") as opened:
        yield opened


def list_keys(loader: Loader, epochs: int) -> list[list[str]]:
    return [batch["key"] for _ in range(epochs) for batch in loader]


@pytest.mark.parametrize("options", [{}, {"world_size": 3, "rank": 1}, {"steps_multiple": 2}, {"shuffle": "block"}])
def test_an_epoch_ends_after_its_steps(data: ShardDataset, options: dict[str, Any]) -> None:
    options = {"shuffle": True, "blocks": BLOCKS, **options}
    short = Loader(data, 2, steps_per_epoch=4, **options)
    assert len(short) == 4
    whole = Loader(data, 2, **options)
    expected = [batch["key"] for _ in range(3) for batch in islice(whole, 4)]  # each left is followed by the next
    assert list_keys(short, 3) == expected
    assert len({tuple(expected[start]) for start in (0, 4, 8)}) == 3


def test_buckets_end_too(data: ShardDataset) -> None:
    short = Loader(data, budget=60, by="n", shuffle=True, steps_per_epoch=3)
    whole = Loader(data, budget=60, by="n", shuffle=True)
    assert list_keys(short, 2) == [batch["key"] for _ in range(2) for batch in islice(whole, 3)]


@pytest.mark.parametrize("stop", range(1, 9))
def test_a_state_at_the_end_of_a_short_epoch_goes_on_with_the_next(data: ShardDataset, stop: int) -> None:
    """Which the state of a loader that knows nothing of the limit cannot."""
    expected = list_keys(Loader(data, 4, shuffle=True, steps_per_epoch=4), 3)
    stopped, resumed = (Loader(data, 4, shuffle=True, steps_per_epoch=4) for _ in range(2))
    seen = [batch["key"] for batch in islice(stopped.forever(), stop)]
    resumed.load_state_dict(stopped.state_dict())
    assert seen + [batch["key"] for batch in islice(resumed.forever(), 12 - stop)] == expected


@pytest.mark.parametrize(("steps", "multiple"), [(0, 1), (-1, 1), (9, 1), (3, 2)])
def test_steps_that_an_epoch_cannot_have(steps: int, multiple: int) -> None:
    with pytest.raises(
        ValueError, match=rf"steps_per_epoch is {steps}; .* of steps_multiple \({multiple}\) from 1 to 8"
    ):
        RankShares(COUNT, 4, steps_multiple=multiple, steps_per_epoch=steps)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"drop_last": True}, "30 samples, of which a step of all 1 ranks takes 40, and less is left out by drop_last"),
        ({"world_size": 40, "uneven": "drop"}, 'by uneven="drop"'),
        ({"steps_multiple": 3, "uneven": "drop"}, 'by uneven="drop", steps_multiple=3'),
    ],
)
def test_an_epoch_without_a_batch_is_reported(
    data: ShardDataset, caplog: pytest.LogCaptureFixture, options: dict[str, Any], reason: str
) -> None:
    loader = Loader(data, 40, shuffle=True, **options)
    with caplog.at_level(logging.WARNING, "shardwright"):
        assert list(loader) == []
    (record,) = caplog.records
    assert record.getMessage().startswith("an epoch has no batch: ")
    assert reason in record.getMessage()


def test_an_empty_view_is_reported(data: ShardDataset, caplog: pytest.LogCaptureFixture) -> None:
    assert list(Loader(data.take([]), 4, shuffle=True)) == []
    assert "there are 0 samples; look at the split" in caplog.text


@pytest.mark.parametrize("rank", [0, 3, 7])
def test_peers_outside_a_data_parallel_mesh_read_the_same(data: ShardDataset, rank: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=8)
    try:
        mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("pp", "dp", "tp"))
        loader = Loader(data, 4, shuffle=True, dp_mesh=mesh["dp"])
        assert list_keys(loader, 1) == list_keys(Loader(data, 4, shuffle=True, rank=rank // 2 % 2, world_size=2), 1)
        hybrid = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("dp_replicate", "dp_shard", "tp"))
        both = Loader(data, 4, shuffle=True, dp_mesh=hybrid["dp_replicate", "dp_shard"])
        assert list_keys(both, 1) == list_keys(Loader(data, 4, shuffle=True, rank=rank // 2, world_size=4), 1)
        unnamed = Loader(data, 4, shuffle=True, dp_mesh=init_device_mesh("cpu", (8,)))
        assert list_keys(unnamed, 1) == list_keys(Loader(data, 4, shuffle=True, rank=rank, world_size=8), 1)
        with pytest.raises(ValueError, match="rank is 0 and world_size 2 beside dp_mesh"):
            Loader(data, 4, shuffle=True, dp_mesh=mesh["dp"], world_size=2)
    finally:
        dist.destroy_process_group()
