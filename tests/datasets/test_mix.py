"""Mixes: exact shares of an epoch, samples read equally often, and any position computed directly."""

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright import Field, FormatError, Loader, ShardDataset, ShardWriter
from shardwright.datasets.base import SampleSource
from shardwright.datasets.mix import Mix
from shardwright.datasets.mix_shares import compute_shares
from shardwright.datasets.read_context import ReadContext

Sized = Callable[[int], SampleSource]
LENGTHS = st.lists(st.integers(1, 40), min_size=1, max_size=4)
WEIGHTS = st.floats(0.05, 20)


@pytest.fixture(scope="module")
def sized(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sized]:
    """Yield a function for the first samples of a split of 40, whose label is their number."""
    root = tmp_path_factory.mktemp("mix")
    write_split(root, "train", {"label": Field("int64", ()), "x": Field("float32", (3,))}, 40)
    with ShardDataset(root, "train") as data:
        yield lambda count: data if count == 40 else data.take(range(count))


def write_split(root: Path, split: str, fields: dict[str, Field], count: int) -> ShardDataset:
    with ShardWriter(root, split, fields, 7) as writer:
        for n in range(count):
            arrays = {name: np.full(field.shape, n, field.dtype) for name, field in fields.items()}
            writer.write(f"{split}-{n}", arrays, {"n": n})
    return ShardDataset(root, split)


def add_chance(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {**sample, "chance": rng.random()}


def list_epoch(mix: SampleSource, seed: int, epoch: int) -> NDArray[np.int64]:
    return mix.shuffle_rows(np.arange(len(mix)), seed, epoch)


@given(st.integers(1, 10_000), st.lists(WEIGHTS, min_size=1, max_size=6))
def test_shares_are_rounded_by_largest_remainder(samples: int, weights: list[float]) -> None:
    ideal = [samples * Fraction(weight) / sum(map(Fraction, weights)) for weight in weights]
    assume(all(share >= 1 for share in ideal))
    shares = compute_shares(samples, weights, [1] * len(weights))
    assert sum(shares) == samples
    assert all(abs(share - exact) < 1 for share, exact in zip(shares, ideal, strict=True))
    raised = [exact - int(exact) for share, exact in zip(shares, ideal, strict=True) if share > exact]
    lowered = [exact - int(exact) for share, exact in zip(shares, ideal, strict=True) if share <= exact]
    assert not raised or not lowered or min(raised) >= max(lowered)
    assert compute_shares(samples, [weight * 4 for weight in weights], [1] * len(weights)) == shares


def test_shares_by_example() -> None:
    assert compute_shares(8000, [3, 1], [1, 1]) == [6000, 2000]
    assert compute_shares(10, [1, 1, 1], [5, 5, 5]) == [4, 3, 3]
    numbers: list[Any] = [np.float32(0.5), np.int64(1)]
    assert compute_shares(10, numbers, [1, 1]) == [3, 7]
    assert compute_shares(11, [1, 1], [1, 1]) == [6, 5]
    assert compute_shares(1, [0.1 + 0.2], [1]) == [1]


@given(LENGTHS, st.integers(), st.integers(0, 50))
@settings(max_examples=60)
def test_without_weights_an_epoch_has_every_sample_once(
    sized: Sized, lengths: list[int], seed: int, epoch: int
) -> None:
    mix = Mix([sized(length) for length in lengths])
    assert len(mix) == mix.count_rows() == sum(lengths)
    assert sorted(list_epoch(mix, seed, epoch).tolist()) == list(range(len(mix)))
    np.testing.assert_array_equal(mix.list_rows(np.arange(len(mix))), np.arange(len(mix)))


@given(st.data(), LENGTHS, st.integers(0, 100))
@settings(max_examples=60)
def test_shares_are_exact_and_samples_are_read_equally_often(
    sized: Sized, data: st.DataObject, lengths: list[int], seed: int
) -> None:
    weights = data.draw(st.lists(WEIGHTS, min_size=len(lengths), max_size=len(lengths)))
    samples = data.draw(st.integers(1, 150))
    ideal = [samples * weight / sum(weights) for weight in weights]
    assume(min(ideal) >= 1.001)
    mix = Mix([sized(length) for length in lengths], weights, samples)
    assert (len(mix), mix.count_rows()) == (samples, sum(lengths))
    shares, ends = compute_shares(samples, weights, lengths), np.cumsum(lengths)
    seen = np.zeros(sum(lengths), np.int64)
    for epoch in range(5):
        rows = list_epoch(mix, seed, epoch)
        assert np.bincount(np.searchsorted(ends, rows, side="right"), minlength=len(lengths)).tolist() == shares
        seen += np.bincount(rows, minlength=len(seen))
        for counts in np.split(seen, ends[:-1]):
            assert counts.max() - counts.min() <= 1


@given(st.data(), st.integers(), st.integers(-2, 30))
@settings(max_examples=60)
def test_any_part_of_an_epoch_is_computed_directly(sized: Sized, data: st.DataObject, seed: int, epoch: int) -> None:
    """So a loader resumes anywhere, and ranks that take every w-th position read the same epoch."""
    inner = Mix([sized(7), sized(11)], [1, 2], 30)
    mix = Mix([inner, sized(5), Mix([sized(3), sized(4)])], [2, 1, 1], 101)
    whole = list_epoch(mix, seed, epoch)
    positions = np.array(data.draw(st.lists(st.integers(0, len(mix) - 1), max_size=40)), np.int64)
    np.testing.assert_array_equal(mix.shuffle_rows(positions, seed, epoch), whole[positions])
    ranks = [mix.shuffle_rows(np.arange(rank, len(mix), 3), seed, epoch) for rank in range(3)]
    np.testing.assert_array_equal(np.concatenate(ranks), np.concatenate([whole[rank::3] for rank in range(3)]))


def test_orders_differ_between_epochs_seeds_and_sources(sized: Sized) -> None:
    mix = Mix([sized(40), sized(40)], [1, 1], 80)
    orders = [list_epoch(mix, seed, epoch).tolist() for seed in range(4) for epoch in range(4)]
    assert len(set(map(tuple, orders))) == 16
    assert len({tuple(row < 40 for row in order) for order in orders}) == 16
    quarter = Mix([sized(40), sized(40)], [1, 1], 20)
    for seed in range(8):
        rows = list_epoch(quarter, seed, 0)
        first, second = (set((rows[rows // 40 == number] % 40).tolist()) for number in (0, 1))
        assert len(first & second) < 9  # of 10; 2.5 are expected
    assert list_epoch(mix, 1, 2).tolist() == list_epoch(mix, 1, 2).tolist()


def test_sources_are_spread_evenly_over_an_epoch(sized: Sized) -> None:
    """In each tenth of an epoch a source has its share, within 4.5 standard deviations of a random order."""
    mix = Mix([sized(40), sized(10)], [3, 1], 40_000)
    from_first = list_epoch(mix, 5, 0) < 40
    assert from_first.sum() == 30_000
    for part in np.split(from_first, 10):
        assert abs(part.sum() - 3000) < 4.5 * np.sqrt(4000 * 0.75 * 0.25)
    pairs = (from_first[1:] & from_first[:-1]).mean()
    assert abs(pairs - 0.75**2) < 4.5 * np.sqrt(0.5625 * 0.4375 / 40_000)


@given(st.data())
@settings(max_examples=60)
def test_a_mix_reads_the_samples_of_its_sources(sized: Sized, data: st.DataObject) -> None:
    lengths = data.draw(LENGTHS)
    sources: list[SampleSource] = [sized(length).with_transform(add_chance) for length in lengths]
    mix = Mix(sources)
    offsets = np.cumsum(lengths) - lengths
    requested = data.draw(st.lists(st.integers(-len(mix), len(mix) - 1), min_size=1, max_size=30))
    context = ReadContext(seed=3, epoch=4)
    batch, samples = mix.gather(requested, context), mix.read_samples(requested, context)
    assert list(batch) == ["key", "label", "x", "chance", "source"]
    for at, row in enumerate(np.array(requested) % len(mix)):
        number = int(np.searchsorted(offsets, row, side="right")) - 1
        own_row = int(row - offsets[number])
        expected = sources[number].read_samples([own_row], context)[0]
        assert (batch["key"][at], batch["source"][at], batch["chance"][at]) == (
            expected["key"],
            number,
            expected["chance"],
        )
        assert (samples[at]["key"], samples[at]["source"], samples[at]["chance"]) == (
            expected["key"],
            number,
            expected["chance"],
        )
        assert batch["x"][at].tolist() == expected["x"].tolist() == samples[at]["x"].tolist()
        assert (mix.meta(int(row)), mix.keys[row].decode()) == (sources[number].meta(own_row), expected["key"])
        assert mix.find_shard(int(row)) == sources[number].find_shard(own_row)
    assert batch["source"].dtype == np.int64


def test_gathering_no_rows_gives_an_empty_batch(sized: Sized) -> None:
    batch = Mix([sized(3), sized(2)]).gather([])
    assert (batch["key"], batch["x"].shape, batch["source"].shape) == ([], (0, 3), (0,))


def test_views_of_a_mix_are_mixes_of_views(sized: Sized) -> None:
    first, second = sized(12), sized(30)
    mix = Mix([first, second], [2, 1], 60)
    even = mix.filter(lambda meta: meta["n"] % 2 == 0)
    assert (len(even), even.count_rows()) == (60, 21)
    assert np.count_nonzero(list_epoch(even, 0, 0) < 6) == 40
    assert even.hash == Mix([first.take(range(0, 12, 2)), second.take(range(0, 30, 2))], [2, 1], 60).hash
    assert len(Mix([first, second], [2, 1]).take(range(0, 42, 2))) == 21
    chosen = mix.select(["x"])
    assert list(chosen.gather([0, 13])) == ["key", "x", "source"]
    np.testing.assert_array_equal(list_epoch(chosen, 1, 2), list_epoch(mix, 1, 2))
    with pytest.raises(KeyError, match="'y'"):
        mix.select(["y"])
    after = mix.with_transform(add_chance)
    assert (len(after), after.count_rows(), after.fields) == (60, 42, {})
    np.testing.assert_array_equal(list_epoch(after, 1, 2), list_epoch(mix, 1, 2))
    narrowed = after.filter(lambda meta: meta["n"] < 12).select(["source", "chance"])
    assert (len(narrowed), narrowed.count_rows()) == (60, 24)
    assert narrowed.gather([0, 12])["source"].tolist() == [0, 1]
    assert (
        after.gather([3], ReadContext(seed=1))["chance"]
        == second.with_transform(add_chance).gather([3], ReadContext(seed=1))["chance"]
    )
    with pytest.raises(ValueError, match=r"source 0 .*no samples"):
        mix.take([20])
    assert len(Mix([first, second]).take([20])) == 1


def test_mixes_of_mixes(sized: Sized) -> None:
    weighted = Mix([sized(10), sized(20)], [1, 1], 8)
    union = Mix([weighted, sized(3)])
    assert (len(union), union.count_rows()) == (11, 33)
    seen: Counter[int] = Counter()
    for epoch in range(5):
        rows = list_epoch(union, 1, epoch)
        assert sorted(row for row in rows if row >= 30) == [30, 31, 32]
        assert np.count_nonzero(rows < 10) == np.count_nonzero((rows >= 10) & (rows < 30)) == 4
        seen.update(rows.tolist())
    assert [seen[row] for row in range(10)] == [2] * 10
    assert all(seen[row] == 1 for row in range(10, 30))
    assert union.gather([0, 15, 31])["source"].tolist() == [0, 0, 1]
    assert union.gather([0, 15])["source"].tolist() == [0, 0]
    with pytest.raises(FormatError, match="weights"):
        union.list_rows(np.arange(11))


def test_hashes_depend_on_all_that_the_order_depends_on(sized: Sized) -> None:
    parts = [sized(12), sized(30)]
    mixes = [
        Mix(parts),
        Mix(parts[::-1]),
        Mix([parts[0], parts[0]]),
        Mix(parts, [1, 1]),
        Mix(parts, [2, 1]),
        Mix(parts, [1, 1], 50),
        Mix([Mix(parts)]),
        Mix(parts, [12, 30]),
    ]
    assert len({mix.hash for mix in mixes}) == len(mixes)
    assert Mix(parts, [2, 2]).hash == mixes[3].hash
    again = pickle.loads(pickle.dumps(mixes[4]))
    assert (again.hash, again.weights) == (mixes[4].hash, (2, 1))
    np.testing.assert_array_equal(list_epoch(again, 1, 1), list_epoch(mixes[4], 1, 1))


def test_splits_of_the_sources_are_part_of_the_hash(tmp_path: Path) -> None:
    fields = {"label": Field("int64", ())}
    train, val = [write_split(tmp_path, split, fields, 5) for split in ("train", "val")]
    assert (Mix([train, val]).split, Mix([train, train]).split) == ("train+val", "train")
    assert Mix([train, val]).hash != Mix([train, train]).hash
    with Mix([train, val]):
        pass
    for data in (train, val):
        with pytest.raises(ValueError, match="closed"):
            data.gather([0])


def test_a_mix_with_weights_has_only_a_shuffled_order(sized: Sized) -> None:
    mix = Mix([sized(3), sized(4)], [1, 1])
    for refused in (
        lambda: mix[0],
        lambda: list(mix),
        lambda: mix.with_transform(add_chance)[0],
        lambda: list(Loader(mix, 2, shuffle=False)),
        lambda: list(torch.utils.data.DataLoader(mix)),  # type: ignore[arg-type]  # which accepts any map-style dataset
    ):
        with pytest.raises(FormatError, match="weights"):
            refused()
    assert mix.gather([mix.find_sample("train-2")])["label"].tolist() == [2]
    for view in (mix, Mix([sized(3), sized(4)])):
        with pytest.raises(FormatError, match="block by block"):
            view.cut_blocks(1)
        with pytest.raises(FormatError, match="block by block"):
            view.open_window(np.arange(2))


def test_incompatible_sources(tmp_path: Path, sized: Sized) -> None:
    def write(name: str, **fields: Field) -> ShardDataset:
        return write_split(tmp_path / name, "train", fields, 3)

    label, x = Field("int64", ()), Field("float32", (3,))
    good = sized(3)
    cases = {
        "'x' is .*4.*source 0.*3": write("shape", label=label, x=Field("float32", (4,))),
        "'x' is None": write("fewer", label=label),
        "'y' is .*None": write("more", label=label, x=x, y=x),
        "'x' is .*Hz": write("unit", label=label, x=Field("float32", (3,), unit="Hz")),
    }
    for match, other in cases.items():
        with pytest.raises(FormatError, match=f"source 1.*{match}"):
            Mix([good, other])
    with pytest.raises(FormatError, match=r"a field 'source'"):
        Mix([write("taken", source=label)])
    Mix([good.select(["x"]), cases["'y' is .*None"].select(["x"])])
    with pytest.raises(FormatError, match="'chance'"):
        Mix([good.with_transform(add_chance), good.with_transform(lambda sample, rng: sample)]).gather([0, 3])
    with pytest.raises(FormatError, match=r"'x' is .*float32.*float64"):
        Mix(
            [good.with_transform(lambda s, r: {"x": s["x"]}), good.with_transform(lambda s, r: {"x": r.random(3)})]
        ).gather([0, 3])


def test_classes_must_be_the_same(tmp_path: Path) -> None:
    datasets = []
    for name, classes in (("a", ("cat", "dog")), ("b", ("cow", "hen"))):
        with ShardWriter(tmp_path / name, "train", {"label": Field("int64", ())}, 7, classes=classes) as writer:
            writer.write("k", {"label": 1})
        datasets.append(ShardDataset(tmp_path / name, "train"))
    with pytest.raises(FormatError, match=r"the classes are.*cow.*cat"):
        Mix(datasets)
    assert Mix(datasets[:1]).classes == ("cat", "dog")
    assert Mix([data.with_transform(add_chance) for data in datasets]).classes is None


@pytest.mark.parametrize("weight", [0, -1, float("nan"), float("inf"), True, "1"])
def test_invalid_weights(sized: Sized, weight: Any) -> None:
    with pytest.raises(ValueError, match=r"weights\[1\] is .*; it must be a positive finite number"):
        Mix([sized(3), sized(3)], [1, weight])


def test_invalid_mixes(sized: Sized) -> None:
    for match, sources, options in (
        ("at least one source", [], {}),
        ("1 numbers for 2", [sized(3), sized(3)], {"weights": [1]}),
        ("no samples; leave it out", [sized(3), sized(3).take([])], {"weights": [1, 1]}),
        ("would never be read", [sized(3), sized(3)], {"weights": [1, 1e-9]}),
        ("at least 1", [sized(3)], {"weights": [1], "samples": 0}),
        ("samples is 3 without weights", [sized(3)], {"samples": 3}),
    ):
        with pytest.raises(ValueError, match=match):
            Mix(sources, **options)
    for wrong in (sized(3), [sized(3), "train"]):
        with pytest.raises(TypeError, match="list of sources"):
            Mix(wrong)  # type: ignore[arg-type]  # an invalid type
    empty = Mix([sized(3).take([]), sized(3).take([])])
    assert (len(empty), list(Loader(empty, 2, shuffle=True))) == (0, [])


def test_a_mix_of_one_source_may_have_another_epoch_length(sized: Sized) -> None:
    mix = Mix([sized(10)], [1], samples=4)
    rows = np.concatenate([list_epoch(mix, 0, epoch) for epoch in range(5)])
    assert Counter(rows.tolist()) == dict.fromkeys(range(10), 2)


@pytest.mark.parametrize("world_size", [1, 3])
def test_a_loader_reads_mixes(sized: Sized, world_size: int) -> None:
    mix = Mix([sized(12), sized(30)], [2, 1], 60).with_transform(add_chance)
    for epoch in range(2):
        by_rank = []
        for rank in range(world_size):
            loader = Loader(mix, 6, shuffle=True, seed=4, rank=rank, world_size=world_size)
            loader.set_epoch(epoch)
            by_rank.append(list(loader))
        reached = mix.gather(list_epoch(mix, 4, epoch), ReadContext(seed=4, epoch=epoch))
        for rank, batches in enumerate(by_rank):
            assert list(chain(*(batch["key"] for batch in batches))) == reached["key"][rank::world_size]
            for name in ("label", "source", "chance"):
                found = torch.cat([batch[name] for batch in batches])
                np.testing.assert_array_equal(found, reached[name][rank::world_size])
        assert Counter(reached["source"].tolist()) == {0: 40, 1: 20}


def test_a_loader_resumes_a_mix(sized: Sized) -> None:
    mix = Mix([sized(5), sized(30)], [2, 1], 33)
    whole = [(batch["key"], batch["source"].tolist()) for batch in Loader(mix, 4, shuffle=True)]
    for stop in range(len(whole)):
        loader = Loader(mix, 4, shuffle=True)
        batches = iter(loader)
        state = [loader.state_dict(), *(loader.state_dict() for _ in batches)][stop]
        again = Loader(Mix([sized(5), sized(30)], [4, 2], 33), 4, shuffle=True, threads=0)
        again.load_state_dict(state)
        assert [(batch["key"], batch["source"].tolist()) for batch in again] == whole[stop:]


def test_parts_are_copied_out_of_their_buffers(sized: Sized) -> None:
    """Parts are read into buffers of the whole batch's size that are reused, so the batch shares memory with none."""
    buffers: list[NDArray[np.uint8]] = []

    def allocate(rows: int, size: int) -> NDArray[np.uint8]:
        buffers.append(np.full((rows, size), 255, np.uint8))
        return buffers[-1]

    mix = Mix([sized(3), sized(9), sized(5)])
    rows = list(range(16, -1, -1))
    batch = mix.gather(rows, ReadContext(allocate=allocate))
    plain = mix.gather(rows)
    assert all(len(memory) == len(rows) for memory in buffers)
    for memory in buffers[2:]:
        if not any(np.shares_memory(memory, batch[name]) for name in ("label", "x")):
            memory[:] = 0
    for name in ("label", "x", "source"):
        np.testing.assert_array_equal(batch[name], plain[name])


def test_a_cached_mix_runs_transforms_each_epoch(sized: Sized) -> None:
    mix = Mix([sized(3).with_transform(add_chance), sized(9).with_transform(add_chance)], [1, 2])
    cached = mix.cached()
    np.testing.assert_array_equal(list_epoch(cached, 1, 1), list_epoch(mix, 1, 1))
    for epoch in range(3):
        context = ReadContext(epoch=epoch)
        assert cached.gather([5, 1], context)["chance"].tolist() == mix.gather([5, 1], context)["chance"].tolist()


@given(lengths=LENGTHS, data=st.data())
@settings(max_examples=20)
def test_weights_may_change_from_epoch_to_epoch(sized: Sized, lengths: list[int], data: st.DataObject) -> None:
    """Shares lie on the lines between the given epochs, and samples are still read equally often over all epochs."""
    sources = [sized(length) for length in lengths]
    weights = st.lists(st.floats(1, 3), min_size=len(lengths), max_size=len(lengths))
    schedule = {1: data.draw(weights), 4: data.draw(weights)}
    mix = Mix(sources, schedule, 24)
    counts: Counter[int] = Counter()
    for epoch in range(7):
        rows = list_epoch(mix, 3, epoch)
        counts.update(rows.tolist())
        at = min(max(epoch - 1, 0), 3) / 3
        line = [(1 - at) * one + at * other for one, other in zip(schedule[1], schedule[4], strict=True)]
        batch = mix.gather(rows)
        found = np.bincount(batch["source"], minlength=len(lengths))
        assert found.tolist() == compute_shares(24, line, lengths) or np.allclose(
            found, 24 * np.array(line) / sum(line), atol=1
        )
        np.testing.assert_array_equal(mix.shuffle_rows(np.array([20, 3]), 3, epoch), rows[[20, 3]])
    first = 0
    for length in lengths:
        of_source = [counts[row] for row in range(first, first + length)]
        assert max(of_source) - min(of_source) <= 1
        first += length


def test_weights_by_epoch_are_part_of_the_hash_and_kept_by_views(sized: Sized) -> None:
    sources = [sized(20), sized(20)]
    mix = Mix(sources, {0: [3, 1], 2: [1, 1]}, 8)
    assert mix.hash != Mix(sources, [3, 1], 8).hash
    assert Mix(sources, {0: [3, 1]}, 8).hash == Mix(sources, [3, 1], 8).hash
    view = mix.take(range(2, 38))
    shares = [np.bincount(view.gather(list_epoch(view, 0, epoch))["source"]).tolist() for epoch in range(4)]
    assert shares == [[6, 2], [5, 3], [4, 4], [4, 4]]
    for wrong in ({}, {-1: [1, 1]}, {0: [1, 1], 1: [1]}, {0: [1, 1], 1: [1, 0]}):
        with pytest.raises(ValueError, match="weights"):
            Mix(sources, wrong, 8)
