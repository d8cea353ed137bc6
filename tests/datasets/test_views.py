"""Views of a dataset: the same results as a reference on lists, and random numbers that depend on the sample alone."""

import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shardwright import DamageError, FormatError, Loader, ShardDataset
from shardwright.datasets.base import SampleSource
from shardwright.datasets.collate import collate
from shardwright.datasets.read_context import Batch, ReadContext
from shardwright.datasets.sample_rng import make_generator
from tests.support.shard_samples import write_small

COUNT = 23
Sample = dict[str, Any]


def jitter(sample: Sample, rng: np.random.Generator) -> Sample:
    """Add noise in place, which is allowed as the arrays are copies, and new names."""
    for value in sample.values():
        if isinstance(value, np.ndarray) and value.dtype == np.float32:
            value += rng.standard_normal(value.shape, np.float32)
    return {**sample, "shift": int(rng.integers(1 << 62)), "caption": "é" * int(rng.integers(5))}


def summarise(sample: Sample, rng: np.random.Generator) -> Sample:
    """Return only new names, without the key."""
    return {"names": sorted(sample), "chance": rng.random(3), "half": rng.random() / 2, "seen": True}


def crop(sample: Sample, rng: np.random.Generator) -> Sample:
    """Add an array whose shape differs between samples."""
    return {**sample, "ragged": rng.random(int(rng.integers(1, 9)))}


def square(sample: Sample, rng: np.random.Generator) -> Sample:
    """Convert the arrays of `crop` to one shape."""
    return {**sample, "ragged": torch.from_numpy(np.resize(sample["ragged"], 4))}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("views")
    write_small(root, COUNT)
    return root


@pytest.fixture(scope="module")
def data(root: Path) -> Iterator[ShardDataset]:
    with ShardDataset(root, "train") as opened:
        yield opened


class Reference:
    """A list of samples, and the operations of views on it: the oracle."""

    def __init__(self, data: ShardDataset, seed: int, epoch: int) -> None:
        self.rows = list(range(len(data)))
        self.samples: list[Sample] = [dict(sample) for sample in data]
        self.names: list[str] = list(data.fields)
        self.transforms = 0
        self.seed, self.epoch = seed, epoch

    def take(self, rows: Sequence[int]) -> None:
        self.rows, self.samples = [self.rows[row] for row in rows], [self.samples[row] for row in rows]

    def select(self, names: Sequence[str]) -> None:
        self.names = list(names)
        self.samples = [{name: sample[name] for name in ("key", *names)} for sample in self.samples]

    def transform(self, function: Callable[[Sample, np.random.Generator], Sample]) -> None:
        for at, sample in enumerate(self.samples):
            rng = make_generator(self.seed, self.epoch, sample["key"], self.transforms)
            copies = {name: v.copy() if isinstance(v, np.ndarray) else v for name, v in sample.items()}
            self.samples[at] = {"key": sample["key"], **function(copies, rng)}
        self.transforms += 1
        if self.samples:
            self.names = [name for name in self.samples[0] if name != "key"]


def assert_same_values(found: Any, expected: Any) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            assert_same_values(found[name], expected[name])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same_values(one, other)
    elif isinstance(expected, np.ndarray | torch.Tensor):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)
    else:
        assert found == expected


def stack_samples(samples: Sequence[Sample], names: Sequence[str]) -> Batch:
    batch: Batch = {}
    for name in ("key", *names):
        values = [sample[name] for sample in samples]
        number = isinstance(values[0], np.ndarray | int | float)
        batch[name] = np.stack([np.asarray(value) for value in values]) if number else values
    return batch


@given(st.data())
@settings(max_examples=120)
def test_any_composition_equals_the_reference(data: ShardDataset, draw: st.DataObject) -> None:
    seed, epoch = draw.draw(st.integers(0, 5)), draw.draw(st.integers(0, 5))
    view: SampleSource = data
    reference = Reference(data, seed, epoch)
    for operation in draw.draw(
        st.lists(st.sampled_from(["select", "filter", "take", "jitter", "summarise"]), max_size=5)
    ):
        if operation == "select":
            names = draw.draw(st.lists(st.sampled_from(reference.names), unique=True)) if reference.names else []
            view = view.select(names)
            reference.select(names)
        elif operation == "filter":
            divisor = draw.draw(st.integers(1, 4))
            view = view.filter(lambda meta, divisor=divisor: meta["n"] % divisor == 0)  # type: ignore[misc]
            reference.take([at for at, row in enumerate(reference.rows) if row % divisor == 0])
        elif operation == "take":
            rows = sorted(draw.draw(st.sets(st.integers(0, max(0, len(reference.rows) - 1))))) if reference.rows else []
            view = view.take(rows)
            reference.take(rows)
        else:
            function = {"jitter": jitter, "summarise": summarise}[operation]
            view = view.with_transform(function)
            reference.transform(function)
    count = len(reference.rows)
    assert (len(view), view.count_rows(), view.split) == (count, count, "train")
    assert [key.decode() for key in view.keys.tolist()] == [sample["key"] for sample in reference.samples]
    assert (view.transforms, view.fixed) == (reference.transforms, reference.transforms == 0)
    np.testing.assert_array_equal(view.list_rows(np.arange(count)), np.arange(count))
    np.testing.assert_array_equal(np.sort(view.shuffle_rows(np.arange(count), seed, epoch)), np.arange(count))
    if not count:
        assert view.gather([])["key"] == []
        return
    requested = draw.draw(st.lists(st.integers(-count, count - 1), min_size=1, max_size=30))
    context = ReadContext(seed=seed, epoch=epoch)
    expected = [reference.samples[row] for row in requested]
    for source in (view, pickle.loads(pickle.dumps(view)) if len(requested) < 4 else view):
        assert source.hash == view.hash
        assert_same_values(source.gather(requested, context), stack_samples(expected, reference.names))
    for found, sample in zip(view.read_samples(requested, context), expected, strict=True):
        assert_same_values(found, {name: sample[name] for name in ("key", *reference.names)})
    assert [view.meta(row)["n"] for row in requested] == [reference.rows[row] for row in requested]
    assert [view.find_shard(row) for row in requested] == [data.find_shard(reference.rows[row]) for row in requested]
    for name, field in view.fields.items():
        assert (view.gather(requested)[name].dtype, view.gather(requested)[name].shape[1:]) == (
            field.dtype,
            field.shape,
        )


def test_hashes_depend_on_content_and_order(data: ShardDataset) -> None:
    """Views with the same samples and fields have the same hash, however they were made; others differ."""
    even = data.filter(lambda meta: meta["n"] % 2 == 0)
    assert even.hash == data.take(range(0, COUNT, 2)).hash
    assert even.take(range(0, len(even), 2)).hash == data.take(range(0, COUNT, 4)).hash
    assert even.select(["label"]).hash == data.select(["label"]).take(range(0, COUNT, 2)).hash
    assert data.select(["label", "mfcc"]).select(["label"]).hash == data.select(["label"]).hash
    assert data.with_transform(jitter).hash == data.hash
    views = [data, even, data.take([0]), data.take([]), data.select(["label"]), even.select(["label"])]
    orders = [
        data.select(["label", "mfcc"]),
        data.select(["mfcc", "label"]),
        data.with_transform(jitter).select(["shift"]),
    ]
    assert len({view.hash for view in [*views, *orders]}) == len(views) + len(orders)


@given(st.permutations(range(COUNT)), st.sets(st.integers(1, COUNT - 1)), st.integers(), st.integers(0, 1000))
@settings(max_examples=40)
def test_random_numbers_depend_on_the_sample_alone(
    data: ShardDataset, order: list[int], cuts: set[int], seed: int, epoch: int
) -> None:
    """In any order, in any batches, read by any thread, from any subset."""
    view = data.with_transform(jitter).with_transform(summarise)
    context = ReadContext(seed=seed, epoch=epoch)
    whole = view.gather(range(COUNT), context)
    with ThreadPoolExecutor(3) as pool:
        parts = [order[a:b] for a, b in pairwise([0, *sorted(cuts), COUNT])]
        batches = list(pool.map(lambda rows: view.gather(rows, context), parts))
    np.testing.assert_array_equal(np.concatenate([batch["chance"] for batch in batches]), whole["chance"][order])
    alone = data.take([order[0]]).with_transform(jitter).with_transform(summarise)
    np.testing.assert_array_equal(alone.gather([0], context)["chance"][0], whole["chance"][order[0]])


def test_transforms_do_not_change_the_global_generators(data: ShardDataset) -> None:
    before = str(np.random.get_state()), torch.get_rng_state()
    list(data.with_transform(jitter))
    assert before[0] == str(np.random.get_state())
    assert torch.equal(before[1], torch.get_rng_state())


def test_a_chain_passes_samples_without_collating_them(data: ShardDataset) -> None:
    """A function may return arrays of many shapes that the next converts to one, also through selections."""
    cropped = data.with_transform(crop)
    with pytest.raises(FormatError, match="'ragged'"):
        cropped.gather(range(COUNT))
    assert len({sample["ragged"].shape for sample in cropped.__getitems__(range(COUNT))}) > 1
    batch = cropped.select(["ragged"]).with_transform(square).take([3, 5]).gather([0, 1, 0])
    assert (batch["ragged"].shape, list(batch)) == ((3, 4), ["key", "ragged"])
    assert isinstance(batch["ragged"], torch.Tensor)


def test_a_selection_reads_only_its_fields(tmp_path: Path) -> None:
    samples = write_small(tmp_path)
    shard = tmp_path / "train" / "train-000000.tar"
    content = bytearray(shard.read_bytes())
    content[content.index(np.asarray(samples[0].arrays["mfcc"]).tobytes())] ^= 1
    shard.write_bytes(content)
    with ShardDataset(tmp_path, "train") as data:
        view = data.select(["label", "image"])
        assert list(view.gather([0])) == ["key", "label", "image"]
        assert list(view.fields) == ["label", "image"]
        assert list(view.gather([0], ReadContext(fields=("image", "mfcc")))) == ["key", "image"]
        assert list(view.gather([0], ReadContext(fields=()))) == ["key"]
        with pytest.raises(DamageError):
            data.select(["mfcc"]).gather([0])
        with pytest.raises(DamageError):
            data.with_transform(jitter).gather([0])
        assert len(view.with_transform(summarise).gather([0])["chance"]) == 1


def test_a_transform_gets_all_fields_whatever_is_requested(data: ShardDataset) -> None:
    view = data.with_transform(summarise)
    for batch in (view.gather([1], ReadContext(fields=("names",))), view.select(["names"]).gather([1])):
        assert batch == {"key": ["train-001"], "names": [["image", "key", "label", "mfcc"]]}


def test_invalid_selections_and_subsets(data: ShardDataset) -> None:
    for view in (data, data.take([1]), data.select(["mfcc", "image"])):
        with pytest.raises(KeyError, match=r"'labels'.*'image'"):
            view.select(["image", "labels"])
    with pytest.raises(KeyError, match="'mfcc'"):
        data.select(["image"]).select(["mfcc"])
    late = data.with_transform(summarise).select(["chance", "mfcc"])
    with pytest.raises(KeyError, match=r"'mfcc'.*'chance'"):
        late.gather([0])
    with pytest.raises(ValueError, match="each name must be there once"):
        data.select(["image", "image"])
    with pytest.raises(ValueError, match="list of names"):
        data.select("image")
    for rows in ([2, 1], [1, 1], [-1, 0]):
        with pytest.raises(ValueError, match="ascend"):
            data.take(rows)
    for wrong in ([COUNT], [-COUNT - 1]):
        with pytest.raises(IndexError, match="out of range"):
            data.take(wrong)
    for mask in ([True] * COUNT, [0.5]):
        with pytest.raises(TypeError):
            data.take(mask)  # type: ignore[arg-type]  # an invalid type
    with pytest.raises(TypeError, match="function"):
        data.with_transform("flip")  # type: ignore[arg-type]  # an invalid type


def test_a_view_may_be_empty(data: ShardDataset) -> None:
    none = data.filter(lambda meta: False)
    assert (len(none), list(none), "0 samples" in repr(none)) == (0, [], True)
    assert none.hash != data.hash
    assert none.gather([])["image"].shape == (0, 5, 7, 3)
    assert len(none.with_transform(jitter).select(["shift"]).gather([])["key"]) == 0
    assert none.cut_blocks(1 << 20).tolist() == []
    assert list(Loader(none, 4, shuffle=True)) == []
    assert len(none.filter(lambda meta: True)) == 0


def read_notes(error: BaseException) -> str:
    return "\n".join(error.__notes__)


def test_errors_of_users_functions_name_the_sample(data: ShardDataset) -> None:
    def fail(sample: Sample, rng: np.random.Generator) -> Sample:
        if sample["key"] == "train-007":
            raise ZeroDivisionError("by zero")
        return sample

    for view in (data.with_transform(fail), data.take(range(5, 12)).with_transform(fail).select(["label"])):
        with pytest.raises(ZeroDivisionError) as caught:
            view.gather(range(len(view)))
        assert "'train-007'" in read_notes(caught.value)
        assert "train-000001.tar" in read_notes(caught.value)
        assert "fail" in read_notes(caught.value)
    with pytest.raises(KeyError) as lacking:
        data.filter(lambda meta: meta["split"] == "a")
    assert "'train-000'" in read_notes(lacking.value)
    assert "train-000000.tar" in read_notes(lacking.value)
    with pytest.raises(TypeError, match="list") as caught_type:
        data.with_transform(lambda sample, rng: [sample]).gather([2])  # type: ignore[arg-type, return-value]
    assert "'train-002'" in read_notes(caught_type.value)
    with pytest.raises(FormatError, match="'other'"):
        data.with_transform(lambda sample, rng: {"key": "other"}).gather([2])


@given(st.integers(1, 5000), st.sets(st.integers(0, COUNT - 1)))
def test_blocks_of_a_subset_are_those_of_the_dataset(data: ShardDataset, size: int, rows: set[int]) -> None:
    view = data.take(sorted(rows)).select(["label"])
    starts = view.cut_blocks(size)
    assert starts.tolist() == sorted(set(starts.tolist()))
    assert starts[:1].tolist() == [0][: len(view)]
    whole = data.cut_blocks(size)
    for block in np.split(np.array(sorted(rows), np.int64), starts[1:]):
        assert len(np.unique(np.searchsorted(whole, block, side="right"))) == (1 if rows else 0)


def test_a_window_holds_the_samples_of_a_view(data: ShardDataset) -> None:
    view = data.take(range(1, COUNT, 3)).with_transform(jitter).select(["mfcc", "shift"])
    rows = np.array([6, 0, 3])
    with_window = view.gather(rows, ReadContext(seed=3, files=view.open_window(rows)))
    assert_same_values(with_window, view.gather(rows, ReadContext(seed=3)))


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_loader_reads_views(data: ShardDataset, threads: int, shuffle: bool) -> None:
    view = data.take(range(1, COUNT, 2)).with_transform(jitter).select(["shift", "label", "caption"])
    epochs = []
    for size in (1, 4, 5):
        loader = Loader(view, size, shuffle=shuffle, seed=3, threads=threads)
        for _epoch in range(2):
            batches = list(loader)
            keys = [key for batch in batches for key in batch["key"]]
            assert sorted(keys) == [key.decode() for key in view.keys.tolist()]
            shifts = torch.cat([batch["shift"] for batch in batches]).tolist()
            labels = torch.cat([batch["label"] for batch in batches]).tolist()
            assert all(isinstance(batch["caption"], list) for batch in batches)
            epochs.append((keys, shifts, labels))
    assert epochs[:2] == epochs[2:4] == epochs[4:]
    assert epochs[0][1] != epochs[1][1]
    by_key = dict(zip(epochs[1][0], epochs[1][1], strict=True))
    fresh = view.gather(range(len(view)), ReadContext(seed=3, epoch=1))
    assert by_key == dict(zip(fresh["key"], fresh["shift"].tolist(), strict=True))


def test_pytorchs_own_loader_reads_views(data: ShardDataset) -> None:
    view = data.take(range(9)).with_transform(jitter)
    batches = list(torch.utils.data.DataLoader(cast(Any, view), batch_size=4, collate_fn=collate))
    assert [len(batch["key"]) for batch in batches] == [4, 4, 1]
    assert_same_values(batches[0], view.gather(range(4)))


def test_cached_samples_are_transformed_each_epoch(data: ShardDataset) -> None:
    view = data.select(["mfcc", "label"]).with_transform(jitter).select(["mfcc", "shift"]).take([0, 4, 9])
    cached = view.cached()
    for epoch in (0, 1, 0):
        context = ReadContext(seed=1, epoch=epoch)
        assert_same_values(cached.gather([2, 0], context), view.gather([2, 0], context))


def test_closing_a_view_closes_its_base(root: Path) -> None:
    with ShardDataset(root, "train").take([1]).select(["label"]).with_transform(jitter) as view:
        base = view
    with pytest.raises(ValueError, match="closed"):
        base.gather([0])


@pytest.mark.slow
def test_views_need_no_pytorch(root: Path) -> None:
    program = (
        "import sys; sys.modules['torch'] = None\n"
        "from shardwright import ShardDataset\n"
        f"data = ShardDataset({str(root)!r}, 'train').select(['label'])\n"
        "data = data.with_transform(lambda sample, rng: {'x': rng.random()})\n"
        "print(data.filter(lambda m: m['n'] < 3).gather([0, 1])['x'].shape)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "(2,)\n"
