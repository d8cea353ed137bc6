"""Resuming after any batch in a new process, with other threads and ranks: the same samples and random numbers."""

import itertools
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from shardwright import Loader, ShardDataset, StateError
from shardwright.datasets.sample_rng import make_generator
from shardwright.loading.batch_plan import Uneven
from shardwright.loading.loader import Order
from tests.support.loader.resuming import (
    GLOBAL_BATCH,
    SEED,
    Stream,
    Way,
    digest,
    open_ranks,
    read_steps,
    resume,
    resume_in_a_new_process,
)
from tests.support.loader.sets import ORDERS, Ragged, list_rows, write_numbers

pytestmark = pytest.mark.slow

COUNT = 1000
STEPS = -(-COUNT // GLOBAL_BATCH)
EPOCH = 3
THREADS = (None, 0, 1, 2, 3, 5, 8)
WORLDS = (1, 2, 3, 4)
"""3 does not divide the samples: two are repeated."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("numbers")
    write_numbers(root, COUNT, 130)
    return root


@pytest.fixture(scope="module")
def streams(root: Path) -> dict[str, Stream]:
    """The epoch by order, computed only from the definitions of the order and of the random numbers."""
    with ShardDataset(root, "train") as data:
        return {
            order: [
                (key, int(make_generator(SEED, EPOCH, key).integers(2**62)))
                for key in (f"{row:05d}" for row in list_rows(data, order, SEED, EPOCH).tolist())
            ]
            for order in ORDERS
        }


def stop(root: Path, way: Way, steps: int) -> tuple[Stream, dict[str, Any]]:
    """Return the samples of the first steps of an epoch, and the state after them."""
    loaders = open_ranks(root, way)
    for loader in loaders:
        loader.set_epoch(EPOCH)
    seen = [sample for step in islice(read_steps(loaders), steps) for sample in step]
    states = [json.dumps(loader.state_dict()) for loader in loaders]
    assert len(set(states)) == 1  # on every rank the same
    state: dict[str, Any] = json.loads(states[0])
    if not steps:
        assert state["position"] == 0
    return seen, state


@dataclass(frozen=True)
class Resumption:
    """Stop after each of `stops` steps, in each of the first ways; resume in each of the others."""

    stopping: Sequence[Way]
    resuming: Sequence[Way]
    stops: Sequence[int]


def check_resumptions(root: Path, streams: dict[str, Stream], resumptions: Sequence[Resumption]) -> int:
    """Stop in this process and resume all in one new process; return how often."""
    jobs, expected = [], []
    for each in resumptions:
        whole = streams[each.stopping[0].order]
        states, rests = [], []
        for way, steps in zip(itertools.cycle(each.stopping), each.stops, strict=False):
            seen, state = stop(root, way, steps)
            assert seen == whole[: len(seen)]
            assert len(seen) == min(COUNT, steps * GLOBAL_BATCH)
            rests.append(digest(whole[len(seen) :]))
            states.append(state)
        jobs += [(way, states) for way in each.resuming]
        expected += [rests] * len(each.resuming)
    assert resume_in_a_new_process(root, jobs) == expected
    return sum(map(len, expected))


def test_a_new_process_resumes_where_the_last_one_stopped(root: Path, streams: dict[str, Stream]) -> None:
    resumptions = []
    for order in ORDERS:
        rng = random.Random(order)
        ways = [Way(order, threads, world) for threads in THREADS for world in WORLDS]
        stops = [0, 1, STEPS, *rng.sample(range(STEPS), 2)]
        resumptions.append(Resumption(rng.sample(ways, len(stops)), rng.sample(ways, 3), stops))
    check_resumptions(root, streams, resumptions)


@pytest.mark.parametrize("order", ORDERS)
def test_every_batch_can_be_resumed_after(root: Path, streams: dict[str, Stream], order: Order) -> None:
    """In this process, from one iteration whose state is taken after each batch."""
    (loader,) = open_ranks(root, Way(order, threads=2))
    loader.set_epoch(EPOCH)
    states = [loader.state_dict() for _ in loader]
    assert [state["position"] for state in states] == list(range(1, STEPS + 1))
    expected = [digest(streams[order][GLOBAL_BATCH * step :]) for step in range(1, STEPS + 1)]
    at = random.Random(order).sample(range(STEPS), 8)
    assert resume(root, Way(order, 0, 2), [states[n] for n in at]) == [expected[n] for n in at]


@pytest.mark.parametrize("order", ORDERS)
def test_a_resumed_epoch_is_followed_by_the_next(root: Path, order: Order) -> None:
    whole = open_ranks(root, Way(order))
    epochs = [[sample for step in read_steps(whole) for sample in step] for _ in range(3)]
    _, state = stop(root, Way(order, 2, 4), 80)
    resumed = open_ranks(root, Way(order, 1, 2))
    for loader in resumed:
        loader.load_state_dict(state | {"epoch": 1})
    rest = [[sample for step in read_steps(resumed) for sample in step] for _ in range(2)]
    assert rest == [epochs[1][80 * GLOBAL_BATCH :], epochs[2]]


@pytest.mark.parametrize("uneven", ["pad", "drop"])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("count", [0, 1, 11, 12, 13, 47, 60])
def test_a_state_at_the_end_of_an_epoch_is_one_for_any_number_of_ranks(
    count: int, uneven: Uneven, drop_last: bool
) -> None:
    """Also where numbers of ranks drop different samples, and so have one batch more or less."""

    def open_loaders(world_size: int) -> list[Loader]:
        return [
            Loader(
                Ragged(count),
                12 // world_size,
                shuffle=True,
                rank=rank,
                world_size=world_size,
                uneven=uneven,
                drop_last=drop_last,
                threads=0,
            )
            for rank in range(world_size)
        ]

    for before, after in itertools.product((1, 2, 3, 4, 6, 12), repeat=2):
        stopped = open_loaders(before)[0]
        for _ in stopped:
            state = stopped.state_dict()
            seen = {
                key for loader in open_loaders(before) for b in islice(loader, state["position"]) for key in b["key"]
            }
            rest = []
            for loader in open_loaders(after):
                loader.load_state_dict(state)
                loader.set_epoch(state["epoch"])
                rest += [key for b in loader for key, valid in zip(b["key"], b["valid"], strict=True) if valid]
                assert loader.state_dict()["epoch"] == 1
            assert not seen & set(rest)
            assert len(set(rest)) == len(rest)
            if uneven == "pad" and not drop_last:
                assert len(seen) + len(rest) == count


@pytest.mark.parametrize("order", ORDERS)
def test_a_state_after_the_last_batch_continues_with_the_next_epoch(root: Path, order: Order) -> None:
    """A new iterator, as Lightning requests it, is the next epoch; setting the completed epoch gives no batches."""
    (loader,) = open_ranks(root, Way(order))
    first, second = ([sample for step in read_steps([loader]) for sample in step] for _ in range(2))
    _, state = stop(root, Way(order), STEPS)
    state |= {"epoch": 0}
    loader.load_state_dict(state)
    assert loader.state_dict() == state
    assert loader.epoch == 1
    assert [sample for step in read_steps([loader]) for sample in step] == second
    loader.load_state_dict(state)
    loader.set_epoch(0)
    assert loader.epoch == 0
    assert list(loader) == []
    loader.set_epoch(0)
    assert [sample for step in read_steps([loader]) for sample in step] == first


def test_a_state_of_another_dataset_is_refused(root: Path, tmp_path: Path) -> None:
    write_numbers(tmp_path, COUNT, 131)  # the same samples in other shards
    _, state = stop(root, Way("global"), 3)
    (other,) = open_ranks(tmp_path, Way("global"))
    with pytest.raises(StateError, match=f"{state['dataset']}.*{other.data.hash}"):
        other.load_state_dict(state)


@pytest.mark.sweep
@pytest.mark.parametrize("order", ORDERS)
def test_resuming_after_every_batch_in_all_ways(root: Path, streams: dict[str, Stream], order: Order) -> None:
    """After every batch, with all threads and ranks before and after; then single states in single processes."""
    rng = random.Random(0)
    print("\n| order | stopped after | in ways | resumed in ways | new processes | resumptions |")
    print("| --- | --- | --- | --- | --- | --- |")
    ways = [
        Way(order, threads, world, access) for threads in THREADS for world in WORLDS for access in ("map", "pread")
    ]
    checked = 0
    for resuming in (ways[n : n + 8] for n in range(0, len(ways), 8)):
        everywhere = Resumption(rng.sample(ways, len(ways)), resuming, range(STEPS + 1))
        checked += check_resumptions(root, streams, [everywhere])
    print(f"| {order} | every batch, 0 … {STEPS} | {len(ways)} | {len(ways)} | {len(ways) // 8} | {checked} |")
    alone = 40
    for _ in range(alone):
        single = Resumption(rng.sample(ways, 1), rng.sample(ways, 1), [rng.randrange(STEPS + 1)])
        check_resumptions(root, streams, [single])
    print(f"| {order} | one random batch | {len(ways)} | {len(ways)} | {alone} | {alone} |")
