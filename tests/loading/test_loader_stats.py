"""What a loader says of itself, endless epochs, a multiple of steps, and ranks from a mesh."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st

from shardwright import Loader, LoaderStats, ShardDataset, StateError, ranks_of
from shardwright.loading.batch_plan import RankShares, Uneven
from tests.support.loader.sets import BLOCKS, draw_numbers, write_numbers

COUNT = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("numbers")
    write_numbers(root, COUNT, 8)
    with ShardDataset(root, "train") as opened:
        yield opened


@pytest.mark.parametrize("threads", [0, 2])
def test_stats_count_what_was_delivered(data: ShardDataset, threads: int) -> None:
    seen: list[LoaderStats] = []
    loader = Loader(
        data.with_transform(draw_numbers), 4, shuffle=True, threads=threads, world_size=4, on_batch=seen.append
    )
    assert loader.stats == LoaderStats(threads, 0)
    for number, batch in enumerate(loader, 1):
        stats = loader.stats
        assert stats == seen[-1]
        assert (stats.batches, len(seen)) == (number, number)
        assert stats.bytes == sum(v.nbytes for b in [batch] for v in b.values() if isinstance(v, torch.Tensor)) * number
        assert 0 <= stats.ready <= 2 * threads
    assert (stats.samples, stats.skipped, stats.omitted) == (8, 0, 0)
    assert stats.read_seconds > 0
    assert stats.wait_seconds > 0
    next(iter(loader))
    assert loader.stats.batches == 1  # of the latest iteration


@pytest.mark.slow
def test_stats_of_processes(data: ShardDataset) -> None:
    with Loader(data.with_transform(draw_numbers), 4, shuffle=True, processes=1) as loader:
        for _ in loader:
            assert 0 <= loader.stats.ready <= 1
        stats = loader.stats
    assert (stats.threads, stats.processes, stats.batches, stats.samples) == (0, 1, 8, COUNT)
    assert stats.read_seconds > 0


def odd_only(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any] | None:
    return {"n": sample["n"]} if sample["n"] % 2 else None


def test_stats_count_what_transforms_left_out(data: ShardDataset) -> None:
    loader = Loader(data.with_transform(odd_only, skip_none=True), 4, shuffle=True)
    list(loader)
    assert (loader.stats.samples, loader.stats.omitted) == (COUNT // 2, COUNT // 2)


def test_forever_is_one_epoch_after_another_and_resumes(data: ShardDataset) -> None:
    loader = Loader(data, 4, shuffle=True)
    expected = [batch["key"] for _ in range(3) for batch in loader]
    for stop in (1, 7, 8, 9, 16, 19):
        first = Loader(data, 4, shuffle=True)
        keys = [batch["key"] for batch in islice(first.forever(), stop)]
        second = Loader(data, 4, shuffle=True)
        second.load_state_dict(first.state_dict())
        keys += [batch["key"] for batch in islice(second.forever(), 24 - stop)]
        assert keys == expected


def test_forever_without_a_batch_is_refused(data: ShardDataset) -> None:
    with pytest.raises(ValueError, match="no batch"):
        next(Loader(data.take([]), 4, shuffle=True).forever())


@given(
    count=st.integers(0, 60),
    batch=st.integers(1, 9),
    world=st.integers(1, 4),
    uneven=st.sampled_from(["pad", "drop"]),
    drop_last=st.booleans(),
    multiple=st.integers(1, 5),
)
def test_steps_are_a_multiple_with_each_sample_valid_at_most_once(
    count: int, batch: int, world: int, uneven: Uneven, drop_last: bool, multiple: int
) -> None:
    valid: list[int] = []
    for rank in range(world):
        shares = RankShares(count, batch, rank, world, uneven, drop_last, multiple)
        plans = list(shares.plan(lambda positions: positions))
        assert len(plans) == shares.steps
        assert shares.steps % multiple == 0
        valid += [row for plan in plans for row in plan.rows[plan.valid].tolist()]
        assert all((plan.rows < count).all() for plan in plans)
        if uneven == "drop" or drop_last:
            assert all(plan.valid.all() for plan in plans)
        plain = RankShares(count, batch, rank, world, uneven, drop_last)
        pads = uneven == "pad" and not drop_last
        assert abs(shares.steps - plain.steps) < multiple
        assert (shares.steps >= plain.steps) if pads else (shares.steps <= plain.steps)
    assert len(set(valid)) == len(valid)
    if uneven == "pad" and not drop_last:
        assert sorted(valid) == list(range(count))


def test_steps_that_are_no_multiple_may_be_an_error() -> None:
    with pytest.raises(ValueError, match="steps_multiple"):
        RankShares(30, 4, uneven="error", steps_multiple=3)
    assert RankShares(24, 4, uneven="error", steps_multiple=3).steps == 6
    with pytest.raises(ValueError, match="at least 1"):
        RankShares(30, 4, steps_multiple=0)


@pytest.mark.parametrize("shuffle", [True, "block"])
def test_a_multiple_of_steps_in_each_order(data: ShardDataset, shuffle: Any) -> None:
    loader = Loader(data, 4, shuffle=shuffle, steps_multiple=5, blocks=BLOCKS)
    batches = list(loader)
    assert len(loader) == len(batches) == 10
    assert sorted(n for batch in batches for n in batch["n"][batch["valid"]].tolist()) == list(range(COUNT))
    state = loader.state_dict() | {"epoch": 0, "position": 9}
    loader.load_state_dict(state)
    assert [batch["key"] for batch in loader] == [batches[9]["key"]]
    other = Loader(data, 4, shuffle=shuffle, blocks=BLOCKS)
    with pytest.raises(StateError, match="steps_multiple 5, the loader has 1"):
        other.load_state_dict(state)
    with pytest.raises(StateError, match="steps_multiple 1, the loader has 5"):
        loader.load_state_dict(other.state_dict())


@pytest.mark.parametrize("rank", [0, 3, 7])
def test_peers_in_other_dimensions_of_a_mesh_read_the_same(rank: int) -> None:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=rank, world_size=8)
    try:
        mesh = init_device_mesh("cpu", (2, 2, 2), mesh_dim_names=("replicate", "shard", "tp"))
        assert ranks_of(mesh, "replicate") == (rank // 4, 2)
        assert ranks_of(mesh, "replicate", "shard") == (rank // 2, 4)
        with pytest.raises(ValueError, match=r"no dimension 'dp'.*'shard'"):
            ranks_of(mesh, "dp")
        with pytest.raises(ValueError, match="no dimension is named"):
            ranks_of(mesh)
    finally:
        dist.destroy_process_group()


@pytest.mark.filterwarnings("ignore")  # PyTorch's own, about a single process
def test_a_distributed_checkpoint_saves_and_loads_a_loader(data: ShardDataset, tmp_path: Path) -> None:
    """As torchtitan does: a loader is `Stateful` as it is."""
    from torch.distributed.checkpoint import state_dict_loader, state_dict_saver
    from torch.distributed.checkpoint.stateful import Stateful

    loader = Loader(data, 4, shuffle=True)
    expected = [batch["key"] for batch in loader]
    loader.set_epoch(0)
    assert isinstance(loader, Stateful)
    seen = [batch["key"] for batch in islice(loader, 3)]
    state_dict_saver.save({"loader": loader}, checkpoint_id=tmp_path / "checkpoint", no_dist=True)
    resumed = Loader(data, 4, shuffle=True)
    state_dict_loader.load({"loader": resumed}, checkpoint_id=tmp_path / "checkpoint", no_dist=True)
    assert seen + [batch["key"] for batch in resumed] == expected
