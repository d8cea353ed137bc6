"""Saved states: small JSON; states of something else are refused with both values, other values are refused too."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from shardwright import Loader, ShardDataset, StateError
from shardwright.datasets.base import SampleSource
from shardwright.loading.window_reader import Blocks
from tests.support.loader.sets import BLOCKS, Ragged, write_numbers
from tests.support.shard_samples import JSON

COUNT = 30


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("numbers")
    write_numbers(root, COUNT, 8)
    write_numbers(root, COUNT, 8, "val")
    with ShardDataset(root, "train") as opened:
        yield opened


def make_loader(data: SampleSource, batch_size: int = 4, **options: Any) -> Loader:
    defaults: dict[str, Any] = {"shuffle": "block", "seed": 1, "blocks": BLOCKS, "threads": 0}
    return Loader(data, batch_size, **defaults | options)


OTHERS: dict[str, Callable[[ShardDataset], Loader]] = {
    "dataset": lambda data: make_loader(data.take(range(COUNT - 1))),
    "split": lambda data: make_loader(ShardDataset(data.root, "val")),
    "seed": lambda data: make_loader(data, seed=2),
    "shuffle": lambda data: make_loader(data, shuffle="global"),
    "uneven": lambda data: make_loader(data, uneven="drop"),
    "drop_last": lambda data: make_loader(data, drop_last=True),
    "global_batch": lambda data: make_loader(data, 3),
    "blocks": lambda data: make_loader(data, blocks=Blocks(BLOCKS.size + 2048, BLOCKS.per_window)),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_state_of_something_else_is_refused_with_both_values(data: ShardDataset, name: str) -> None:
    own, other = make_loader(data), OTHERS[name](data)
    for one, state in ((own, other.state_dict()), (other, own.state_dict())):
        before = one.state_dict()
        with pytest.raises(StateError) as caught:
            one.load_state_dict(json.loads(json.dumps(state)))
        if name in state and name in before:
            assert state[name] != before[name]
            for value in (name, repr(state[name]), repr(before[name])):
                assert value in str(caught.value)
        assert one.state_dict() == before


def test_the_table_above_has_all_values_of_a_state(data: ShardDataset) -> None:
    assert make_loader(data).state_dict().keys() == OTHERS.keys() | {"version", "epoch", "position"}


@pytest.mark.parametrize(
    "option", [{"threads": 3}, {"threads": None}, {"on_error": "skip"}, {"skip_budget": 0}, {"device": "cpu"}]
)
def test_options_of_reading_are_not_part_of_a_state(data: ShardDataset, option: dict[str, Any]) -> None:
    loader = make_loader(data, **option)
    assert loader.state_dict() == make_loader(data).state_dict()
    loader.load_state_dict(make_loader(data, 2, rank=1, world_size=2).state_dict())
    other_reading = Blocks(BLOCKS.size, BLOCKS.per_window, ahead=3, threads=2)
    assert make_loader(data, blocks=other_reading).state_dict() == make_loader(data).state_dict()


@given(st.data())
@settings(max_examples=300)
def test_a_state_with_any_other_value_is_refused(data: ShardDataset, drawn: st.DataObject) -> None:
    loader = make_loader(data)
    next(iter(loader))
    state = loader.state_dict()
    name = drawn.draw(st.sampled_from(sorted(state)))
    value = drawn.draw(JSON | st.sampled_from([True, 2.0, "1", -1, 10**30, [], {}, "x" * 10_000]))
    assume(value != state[name] or type(value) is not type(state[name]))
    if name == "epoch" and type(value) is int and value >= 0:
        return
    if name == "position" and type(value) is int and 0 <= value <= len(loader):
        return
    with pytest.raises(StateError) as caught:
        loader.load_state_dict(state | {name: value})
    assert name in str(caught.value)
    assert repr(value)[:200] in str(caught.value)
    assert len(str(caught.value)) < 600
    assert loader.state_dict() == state


@given(JSON | st.dictionaries(st.text(), JSON))
@settings(max_examples=60)
def test_values_that_are_not_states_are_refused(data: ShardDataset, value: Any) -> None:
    with pytest.raises(StateError):
        make_loader(data).load_state_dict(value)


@pytest.mark.parametrize("missing", [*OTHERS, "version", "epoch", "position"])
def test_a_state_that_lacks_a_name_is_refused(data: ShardDataset, missing: str) -> None:
    loader = make_loader(data)
    state = {name: value for name, value in loader.state_dict().items() if name != missing}
    with pytest.raises(StateError, match=f"{missing} .*None"):
        loader.load_state_dict(state)


def test_a_state_of_a_newer_release_is_refused(data: ShardDataset) -> None:
    loader = make_loader(data)
    state = loader.state_dict()
    with pytest.raises(StateError, match=f"version {state['version'] + 1}, the loader has {state['version']}"):
        loader.load_state_dict(state | {"version": state["version"] + 1, "more": 1})


def test_a_state_is_json_also_with_numpy_numbers(data: ShardDataset) -> None:
    loader = Loader(
        data,
        np.int32(4),  # type: ignore[arg-type]  # as configurations and NumPy pass it
        shuffle="block",
        seed=np.int64(1),  # type: ignore[arg-type]
        rank=np.int64(0),  # type: ignore[arg-type]
        world_size=np.int64(1),  # type: ignore[arg-type]
        drop_last=np.bool_(False),  # type: ignore[arg-type]
        blocks=Blocks(np.int64(BLOCKS.size), np.int64(BLOCKS.per_window)),  # type: ignore[arg-type]
    )
    loader.set_epoch(np.int64(2))  # type: ignore[arg-type]
    state = json.loads(json.dumps(loader.state_dict()))
    assert state == make_loader(data).state_dict() | {"epoch": 2}
    assert len(json.dumps(state)) < 400
    make_loader(data).load_state_dict(state)


def test_a_state_has_the_same_size_for_any_number_of_samples() -> None:
    sizes = [len(json.dumps(make_loader(Ragged(count), shuffle="global").state_dict())) for count in (1, 1000, 100_000)]
    assert len(set(sizes)) == 1


@pytest.mark.parametrize("wrong", [{"seed": 1.5}, {"seed": "1"}, {"batch_size": 4.0}, {"rank": None}])
def test_numbers_must_be_integers(data: ShardDataset, wrong: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        make_loader(data, **wrong)


def test_epochs_must_be_integers_from_0(data: ShardDataset) -> None:
    loader = make_loader(data)
    for wrong in (-1, 1.0, None):
        with pytest.raises((ValueError, TypeError)):
            loader.set_epoch(wrong)  # type: ignore[arg-type]  # an invalid value
    assert loader.epoch == 0


def test_loading_a_state_does_not_change_a_running_iteration(data: ShardDataset) -> None:
    loader = make_loader(data)
    running = iter(loader)
    first = next(running)["key"]
    state = loader.state_dict()
    loader.load_state_dict(state | {"epoch": 5})
    rest = [batch["key"] for batch in running]
    assert len(rest) == len(loader) - 1
    assert (loader.epoch, loader.state_dict()["position"]) == (5, 1)
    assert [first, *rest] == [batch["key"] for batch in make_loader(data)]
