"""Samples drawn by weight: the expected frequencies, any part of an epoch computed directly, exact resume."""

from collections.abc import Iterator

import numpy as np
import pytest

from shardwright import FormatError, Loader, ShardDataset
from tests.support.loader.sets import write_numbers

COUNT = 20


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("numbers")
    write_numbers(root, COUNT, 7)
    with ShardDataset(root, "train") as opened:
        yield opened


def test_frequencies_are_those_of_the_weights(data: ShardDataset) -> None:
    """Chi-squared with 15 degrees of freedom: above 44.3 with a probability of 1e-4, for this seed once and for all."""
    weights = np.arange(COUNT, dtype=np.float64)
    weights[-4:] = 0
    source = data.weighted(weights, 200_000)
    expected = weights / weights.sum() * len(source)
    for epoch in range(3):
        found = np.bincount(source.shuffle_rows(np.arange(len(source)), 1, epoch), minlength=COUNT)
        assert not found[expected == 0].any()
        drawn = expected > 0
        assert (((found - expected)[drawn] ** 2) / expected[drawn]).sum() < 44.3


def test_epochs_seeds_and_neighbours_are_independent(data: ShardDataset) -> None:
    source = data.weighted(np.ones(COUNT), 10_000)
    epochs = [source.shuffle_rows(np.arange(10_000), seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert abs(np.corrcoef(epochs[one], epochs[other])[0, 1]) < 0.04
    assert abs(np.corrcoef(epochs[0][1:], epochs[0][:-1])[0, 1]) < 0.04


def test_any_position_is_computed_directly_and_a_loader_resumes(data: ShardDataset) -> None:
    source = data.weighted(np.arange(COUNT), 50)
    whole = source.shuffle_rows(np.arange(50), 3, 2)
    assert source.shuffle_rows(np.array([49, 7, 7]), 3, 2).tolist() == whole[[49, 7, 7]].tolist()
    loader = Loader(source, 8, shuffle=True, seed=3)
    batches = [batch["n"].tolist() for _ in range(2) for batch in loader]
    resumed = Loader(source, 8, shuffle=True, seed=3)
    resumed.load_state_dict(loader.state_dict() | {"epoch": 1, "position": 3})
    assert [batch["n"].tolist() for batch in resumed] == batches[len(loader) + 3 :]
    ranks = [Loader(source, 4, shuffle=True, seed=3, rank=rank, world_size=2) for rank in range(2)]
    for batch, *parts in zip(batches, *ranks, strict=False):
        assert batch == np.stack([part["n"] for part in parts], 1).ravel().tolist()


def test_views_keep_the_weights(data: ShardDataset) -> None:
    source = data.weighted(np.arange(COUNT))
    taken = source.take([0, 5, 9]).with_transform(lambda sample, rng: sample)
    assert len(taken) == 3
    assert set(taken.shuffle_rows(np.arange(3), 0, 0).tolist()) <= {1, 2}
    assert source.hash != data.weighted(np.ones(COUNT)).hash != data.weighted(np.ones(COUNT), 9).hash


def test_other_orders_and_weights_are_refused(data: ShardDataset) -> None:
    source = data.weighted(np.ones(COUNT))
    with pytest.raises(FormatError, match="shuffle=True"):
        source[0]
    with pytest.raises(FormatError, match="block"):
        Loader(source, 4, shuffle="block")
    for weights in (np.ones(3), np.zeros(COUNT), np.full(COUNT, -1.0), np.full(COUNT, np.nan)):
        with pytest.raises(ValueError, match="weights"):
            data.weighted(weights)
    with pytest.raises(ValueError, match="samples is 0"):
        data.weighted(np.ones(COUNT), 0)
