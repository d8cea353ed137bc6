"""Transforms: few samples in memory at a time, samples that are left out, and functions of whole batches."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from shardwright import FormatError, Loader, Mix, ShardDataset, ShardwrightError
from shardwright.datasets import transforms
from shardwright.datasets.base import SampleSource
from shardwright.datasets.sample_rng import make_generator
from tests.support.loader.sets import draw_numbers, write_numbers

COUNT, BATCH = 50, 8
Sample = dict[str, Any]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShardDataset]:
    root = tmp_path_factory.mktemp("numbers")
    write_numbers(root, COUNT, 15)
    with ShardDataset(root, "train") as opened:
        yield opened


def keep_odd(sample: Sample, rng: np.random.Generator) -> Sample | None:
    return {"n": sample["n"], "draw": rng.random(), "text": [sample["key"]]} if sample["n"] % 2 else None


def keep_none(sample: Sample, rng: np.random.Generator) -> None:
    return None


def add_ten(sample: Sample, rng: np.random.Generator) -> Sample:
    return sample | {"n": sample["n"] + 10}


def list_valid(loader: Loader) -> list[int]:
    batches = list(loader)
    assert [len(batch["n"]) for batch in batches] == [BATCH] * (len(batches) - 1) + [len(loader.data) % BATCH or BATCH]
    return [n for batch in batches for n in batch["n"][batch["valid"]].tolist()]


@pytest.mark.parametrize("run_rows", [1, 3, 100])
def test_the_samples_read_at_a_time_change_nothing(data: ShardDataset, run_rows: int) -> None:
    view = data.with_transform(draw_numbers).with_transform(add_ten)
    vars(view)["_run_rows"] = run_rows
    batch = view.gather(range(COUNT))
    assert batch["n"].tolist() == list(range(10, COUNT + 10))
    assert batch["draw"].tolist() == [int(make_generator(0, 0, key).integers(2**62)) for key in batch["key"]]


def test_no_more_samples_than_a_run_are_alive(data: ShardDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transforms, "RUN_BYTES", 3 * 4)
    asked: list[int] = []

    class Recording(ShardDataset):
        def read_samples(self, indices: Any, *context: Any) -> list[Sample]:
            asked.append(len(indices))
            return super().read_samples(indices, *context)

    with Recording(data.root, "train") as recording:
        recording.with_transform(add_ten).with_transform(add_ten).gather(range(8))
    assert asked == [3, 3, 2]


@pytest.mark.parametrize("options", [{"threads": 0}, {"threads": 2}, {"shuffle": "block"}, {"on_error": "skip"}])
def test_left_out_samples_are_repeats_of_others_that_do_not_count(data: ShardDataset, options: dict[str, Any]) -> None:
    view = data.with_transform(keep_odd, skip_none=True).with_transform(add_ten)
    loader = Loader(view, BATCH, **{"shuffle": True} | options)
    assert sorted(list_valid(loader)) == [n + 10 for n in range(COUNT) if n % 2]
    assert sorted(list_valid(loader)) == [n + 10 for n in range(COUNT) if n % 2]
    assert not loader.skipped


@pytest.mark.slow
def test_processes_leave_out_the_same(data: ShardDataset) -> None:
    view = data.with_transform(keep_odd, skip_none=True)
    with Loader(view, BATCH, shuffle=True, processes=2) as loader:
        for found, expected in zip(loader, Loader(view, BATCH, shuffle=True), strict=True):
            assert found["key"] == expected["key"]
            assert found["valid"].tolist() == expected["valid"].tolist()


def test_repeats_are_copies(data: ShardDataset) -> None:
    for batch in Loader(data.with_transform(keep_odd, skip_none=True), BATCH, shuffle=True):
        for values in batch["text"]:
            values[0] += "x"
        assert all(len(values[0]) == 6 for values in batch["text"])


def test_a_mix_maps_what_its_sources_leave_out(data: ShardDataset) -> None:
    small: SampleSource = data.take(range(20, 30)).with_transform(lambda sample, rng: {"n": sample["n"]})
    mix = Mix([data.with_transform(keep_odd, skip_none=True).select(["n"]), small])
    assert sorted(list_valid(Loader(mix, BATCH, shuffle=True))) == sorted([*range(1, COUNT, 2), *range(20, 30)])


def test_none_is_an_error_elsewhere(data: ShardDataset) -> None:
    with pytest.raises(TypeError, match="skip_none=True"):
        list(Loader(data.with_transform(keep_odd), BATCH, shuffle=True))
    with pytest.raises(FormatError, match="only a Loader"):
        data.with_transform(keep_odd, skip_none=True)[0]
    with pytest.raises(ShardwrightError, match=r"data\.filter"):
        list(Loader(data.with_transform(keep_none, skip_none=True), BATCH, shuffle=True))


def mix_neighbours(batch: Sample, rngs: Sequence[np.random.Generator]) -> Sample:
    return {"n": batch["n"], "mixed": batch["n"] + np.roll(batch["n"], 1), "draw": [rng.random() for rng in rngs]}


@pytest.mark.parametrize("threads", [0, 2])
def test_a_function_of_a_batch_gets_the_batch_and_a_generator_a_sample(data: ShardDataset, threads: int) -> None:
    view = data.with_transform(add_ten).with_batch_transform(mix_neighbours)
    assert (view.transforms, view.fixed) == (2, False)
    loader = Loader(view, BATCH, shuffle=True, seed=3, threads=threads)
    batches = list(loader)
    for batch in batches:
        assert batch["mixed"].tolist() == (batch["n"] + batch["n"].roll(1)).tolist()
        assert batch["draw"] == [make_generator(3, 0, key, 1).random() for key in batch["key"]]
    resumed = Loader(view, BATCH, shuffle=True, seed=3)
    resumed.load_state_dict(loader.state_dict() | {"epoch": 0, "position": 2})
    assert [batch["mixed"].tolist() for batch in resumed] == [batch["mixed"].tolist() for batch in batches[2:]]


def test_views_of_batch_functions(data: ShardDataset) -> None:
    view = data.with_batch_transform(mix_neighbours)
    assert list(view.select(["mixed"]).gather([1, 2])) == ["key", "mixed"]
    assert view.take([4, 7]).gather([0, 1])["mixed"].tolist() == [11, 11]
    assert view[4]["mixed"] == 8
    assert view.gather([])["key"] == []


@pytest.mark.parametrize(
    ("function", "kind", "message"),
    [
        (lambda batch, rngs: None, TypeError, "NoneType"),
        (lambda batch, rngs: batch | {"key": batch["key"][::-1]}, FormatError, "keys"),
        (lambda batch, rngs: {"n": batch["n"][:1]}, FormatError, "'n' is 1 for 2 samples"),
        (lambda batch, rngs: {"n": 1}, FormatError, "'n' is int for 2 samples"),
    ],
)
def test_results_that_are_no_batch(data: ShardDataset, function: Any, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught:
        data.with_batch_transform(function).gather([3, 4])
    assert "'00003' to '00004'" in caught.value.__notes__[0]
