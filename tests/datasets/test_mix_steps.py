"""Weights of a mix by step: exact steps, long-run shares of any size, each position computed directly, exact resume."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright import Field, Loader, Mix, ShardDataset, ShardWriter
from shardwright.datasets.mix_steps import CYCLE, StepShares


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("mix")
    with ShardWriter(root, "train", {"label": Field("int64", ())}, 7) as writer:
        for n in range(40):
            writer.write(f"train-{n}", {"label": n})
    with ShardDataset(root, "train") as opened:
        yield opened


def locate_epochs(shares: StepShares, epochs: int, seed: int = 0) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the source and its read for each position of the first epochs: each int64 (epochs × samples,)."""
    located = [shares.locate(np.arange(shares.samples), seed, epoch) for epoch in range(epochs)]
    return np.concatenate([one for one, _ in located]), np.concatenate([reads for _, reads in located])


def draw_weights(data: st.DataObject, sources: int) -> dict[int, list[float]]:
    """Draw weights at some steps; each source has one somewhere."""
    weights = st.lists(st.sampled_from([0.0, 0.001, 0.3, 1.0, 3.0, 7.7]), min_size=sources, max_size=sources)
    some = data.draw(st.dictionaries(st.integers(0, 60), weights.filter(any), max_size=3))
    return {**some, 61: data.draw(st.lists(st.floats(0.01, 5), min_size=sources, max_size=sources))}


@given(data=st.data(), sources=st.integers(1, 4), per_step=st.integers(1, 12), steps=st.integers(1, 7))
@settings(max_examples=40)
def test_each_step_has_its_shares_and_each_read_is_once(
    data: st.DataObject, sources: int, per_step: int, steps: int
) -> None:
    weights = draw_weights(data, sources)
    shares = StepShares(per_step * steps, per_step, weights, [9] * sources)
    found, reads = locate_epochs(shares, 12)
    given_steps = sorted(weights)
    for step, of_step in enumerate(found.reshape(-1, per_step)):
        line = np.array([np.interp(step, given_steps, [weights[s][n] for s in given_steps]) for n in range(sources)])
        ideal = per_step * line / line.sum()
        assert (abs(np.bincount(of_step, minlength=sources) - ideal) < 1 + 1e-9).all()
    for number in range(sources):  # the reads of a source are 0, 1, 2 …, those of a step before those of the next
        of_source = reads[found == number]
        assert sorted(of_source.tolist()) == list(range(len(of_source)))
        by_step = np.repeat(np.arange(len(found) // per_step), per_step)[found == number]
        assert (np.diff(by_step[np.argsort(of_source)]) >= 0).all()


@given(data=st.data(), epoch=st.integers(-3, 3000), seed=st.integers())
@settings(max_examples=40)
def test_any_position_is_computed_by_itself(data: st.DataObject, epoch: int, seed: int) -> None:
    shares = StepShares(48, 8, {0: [3, 1, 0], 2500: [1, 1, 1]}, [5, 6, 7])
    whole = shares.locate(np.arange(48), seed, epoch)
    positions = np.array(data.draw(st.lists(st.integers(0, 47), max_size=20)), np.int64)
    for part, all_of_it in zip(shares.locate(positions, seed, epoch), whole, strict=True):
        np.testing.assert_array_equal(part, all_of_it[positions])


@pytest.mark.parametrize("epoch", [0, 1, 20, 40, 41, 42, 100, 10**9])
def test_epochs_follow_each_other(epoch: int) -> None:
    """Also between cycles of steps, and where the weights stop changing: 41 epochs are 2,583 steps."""
    shares = StepShares(63 * 4, 4, {100: [3, 1], 2580: [1, 5]}, [5, 6])
    for number in (0, 1):
        ends = []
        for at in (epoch - 1, epoch, epoch + 1):
            sources, reads = shares.locate(np.arange(shares.samples), 3, at)
            of_source = np.sort(reads[sources == number])
            assert (np.diff(of_source) == 1).all()
            ends.append((int(of_source[0]), int(of_source[-1])))
        assert ends[0][1] + 1 == ends[1][0]
        assert ends[1][1] + 1 == ends[2][0]
    assert shares.locate(np.zeros(1, np.int64), 3, 0)[1][0] < 4


def test_small_weights_have_their_share_in_the_long_run() -> None:
    """A source with one sample in 500, of 8 a step: no step has a share of one, and none is left out for long."""
    shares = StepShares(8 * CYCLE, 8, {0: [499, 1]}, [50, 50])
    found, _ = locate_epochs(shares, 4)
    assert (found == 1).sum() in range(4 * CYCLE * 8 // 500 - 2, 4 * CYCLE * 8 // 500 + 3)
    steps = np.flatnonzero((found == 1).reshape(-1, 8).any(1))
    assert np.diff(steps).max() < 3 * 500 / 8


def test_weights_rise_on_a_line() -> None:
    shares = StepShares(100 * 64, 64, {0: [1, 0], 100: [0, 1]}, [50, 50])
    counts = np.array([np.bincount(part, minlength=2)[1] for part in locate_epochs(shares, 2)[0].reshape(-1, 64)])
    assert (abs(counts[:100] - 0.64 * np.arange(100)) < 1).all()
    assert (counts[100:] == 64).all()


def test_samples_of_a_step_are_spread_over_ranks() -> None:
    found, _ = locate_epochs(StepShares(64 * 100, 64, {0: [1, 1]}, [50, 50]), 1)
    for rank in range(2):
        assert abs((found[rank::2] == 0).mean() - 0.5) < 4.5 * np.sqrt(0.25 / 3200)
    other = locate_epochs(StepShares(64 * 100, 64, {0: [1, 1]}, [50, 50]), 1, seed=1)[0]
    assert 0.4 < (found == other).mean() < 0.6


@pytest.mark.parametrize("world_size", [1, 2])
@pytest.mark.parametrize("stop", [1, 5, 6, 7, 17, 29])
def test_a_loader_resumes(data: ShardDataset, world_size: int, stop: int) -> None:
    mix = Mix([data.take(range(25)), data.take(range(25, 40))], {0: [1, 0], 10: [1, 1], 20: [1, 4]}, global_batch=8)
    assert (len(mix), mix.count_rows()) == (40, 40)

    def open_loader(rank: int) -> Loader:
        return Loader(mix, 8 // world_size, shuffle=True, seed=5, rank=rank, world_size=world_size)

    for rank in range(world_size):
        expected = [batch["key"] for batch in islice(open_loader(rank).forever(), 35)]
        first, second = open_loader(rank), open_loader(rank)
        seen = [batch["key"] for batch in islice(first.forever(), stop)]
        second.load_state_dict(first.state_dict())
        assert seen + [batch["key"] for batch in islice(second.forever(), 35 - stop)] == expected


def test_sources_are_read_equally_often(data: ShardDataset) -> None:
    mix = Mix([data.take(range(25)), data.take(range(25, 40))], {0: [2, 1], 30: [1, 4]}, samples=24, global_batch=8)
    rows = np.concatenate([mix.shuffle_rows(np.arange(24), 0, epoch) for epoch in range(20)])
    for part in np.split(np.bincount(rows, minlength=40), [25]):
        assert part.max() - part.min() <= 1


def test_views_and_the_hash(data: ShardDataset) -> None:
    weights: dict[int, list[float]] = {0: [1, 0], 10: [1, 1]}
    mix = Mix([data, data], weights, global_batch=8)
    same = Mix([data, data], {0: [2, 0], 10: [2, 2]}, global_batch=8)
    others = [
        Mix([data, data], weights, global_batch=16),
        Mix([data, data], {0: [1, 0], 11: [1, 1]}, global_batch=8),
        Mix([data, data], {0: [1, 1]}, 80),
    ]
    assert mix.hash == same.hash
    assert len({mix.hash, *(other.hash for other in others)}) == 4
    assert len(mix.take(range(2, 80)).select(["label"])) == 80
    assert "Mix of 80 samples an epoch" in repr(mix)


def test_invalid_weights_by_step(data: ShardDataset) -> None:
    cases: list[tuple[str, Any, dict[str, Any]]] = [
        ("with it they are by step", [1, 1], {}),
        ("with it they are by step", None, {}),
        ("must name at least one", {}, {}),
        ("none below 0", {-1: [1, 1]}, {}),
        ("1 numbers for 2", {0: [1]}, {}),
        ("finite number of at least 0", {0: [1, -1]}, {}),
        ("at least one of them", {0: [0, 0]}, {}),
        ("source 1 would never be read", {0: [1, 0]}, {}),
        ("source 1 would never be read", {0: [1, 1e-9]}, {}),
        ("multiple of global_batch", {0: [1, 1]}, {"samples": 12}),
        ("multiple of global_batch", {0: [1, 1]}, {"samples": 0}),
        ("at least 1", {0: [1, 1]}, {"global_batch": 0}),
    ]
    for match, weights, options in cases:
        with pytest.raises(ValueError, match=match):
            Mix([data, data], weights, **{"global_batch": 8, **options})
