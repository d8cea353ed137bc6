"""Threads, processes, caches, maps and blocks give the same batches, and do not change batches that are held."""

import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from shardwright import Loader, ShardDataset
from shardwright.datasets.base import SampleSource
from shardwright.datasets.mix import Mix
from shardwright.datasets.read_context import ReadContext
from shardwright.loading import device
from shardwright.loading.device import count_bytes, fits_memory
from shardwright.loading.loader import Order
from shardwright.loading.window_reader import Blocks
from shardwright.remote.location import Access
from shardwright.storage.file_set import FileSet
from tests.support.loader.sets import BLOCKS, ORDERS, Ragged, brighten, list_rows, write_images

pytestmark = pytest.mark.slow

COUNT, BATCH, SEED = 61, 24, 5
EPOCHS = range(2)
ACCESSES: tuple[Access, ...] = ("map", "pread")


@pytest.fixture(scope="module", params=["npy", "jpeg"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root, COUNT, encoding=request.param)
    return root


@pytest.fixture(scope="module", params=ACCESSES)
def data(root: Path, request: pytest.FixtureRequest) -> Iterator[ShardDataset]:
    with ShardDataset(root, "train", access=request.param) as opened:
        yield opened


def open_view(data: SampleSource, view: str) -> SampleSource:
    """Return a view of `data`."""
    if view == "all":
        return data
    if view == "subset":
        return data.filter(lambda meta: meta["n"] % 3 > 0).select(["wave", "label"])
    return data.with_transform(brighten)


def gather_epoch(source: SampleSource, order: Order, epoch: int) -> Iterator[dict[str, Any]]:
    """Yield the batches of an epoch, gathered one by one."""
    rows = list_rows(source, order, SEED, epoch)  # type: ignore[arg-type]  # views have blocks too
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        batch = source.gather(part, ReadContext(seed=SEED, epoch=epoch))
        yield batch | {"valid": torch.ones(len(part), dtype=torch.bool)}


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert list(found) == list(expected)
    for name, values in expected.items():
        if isinstance(values, list):
            assert found[name] == values
        else:
            tensor = values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor), name


def gather_epochs(source: SampleSource, order: Order) -> list[list[dict[str, Any]]]:
    return [list(gather_epoch(source, order, epoch)) for epoch in EPOCHS]


def assert_same_epochs(loader: Loader, epochs: list[list[dict[str, Any]]]) -> None:
    for expected in epochs:
        found = list(loader)
        assert len(found) == len(expected)
        for batch, gathered in zip(found, expected, strict=True):
            assert_same(batch, gathered)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("view", ["all", "subset", "transformed"])
def test_any_number_of_threads_gives_the_same(data: ShardDataset, view: str, order: Order) -> None:
    source = open_view(data, view)
    expected = gather_epochs(source, order)
    for threads in (None, 0, 1, 2, 5, 8):
        loader = Loader(source, BATCH, shuffle=order, seed=SEED, threads=threads, blocks=BLOCKS)
        assert_same_epochs(loader, expected)


@pytest.mark.parametrize("cache", ["memory", "auto", "device"])
@pytest.mark.parametrize("view", ["all", "subset", "transformed"])
def test_a_cache_gives_the_same(root: Path, view: str, cache: Any) -> None:
    for threads, access in ((None, "map"), (0, "map"), (2, "map"), (2, "pread")):
        with ShardDataset(root, "train", access=access) as data:  # type: ignore[arg-type]
            source = open_view(data, view)
            if cache == "device" and not source.fixed:
                with pytest.raises(ValueError, match="transform"):
                    Loader(source, BATCH, shuffle=True, cache=cache)
                continue
            loader = Loader(source, BATCH, shuffle=True, seed=SEED, threads=threads, cache=cache)
            assert_same_epochs(loader, gather_epochs(source, "global"))


@pytest.mark.parametrize(("processes", "view", "access"), [(1, "all", "pread"), (2, "transformed", "map")])
def test_processes_give_the_same(root: Path, processes: int, view: str, access: Any) -> None:
    with ShardDataset(root, "train", access=access) as data:
        source = open_view(data, view)
        with Loader(source, BATCH, shuffle=True, seed=SEED, processes=processes) as loader:
            assert_same_epochs(loader, gather_epochs(source, "global"))


@pytest.mark.parametrize("threads", [None, 0, 1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_batches_that_are_held_never_change(data: ShardDataset, order: Order, threads: int | None) -> None:
    """Whole batches, views of them, arrays that share their memory: whatever is held keeps its memory."""
    rng = random.Random(-1 if threads is None else threads)
    loader = Loader(data, BATCH, shuffle=order, seed=1, threads=threads, blocks=BLOCKS)
    held: list[tuple[list[int], Any]] = []
    reused = 0
    seen: set[int] = set()
    for _ in range(6):
        for batch in loader:
            rows = [int(key.removeprefix("image-")) for key in batch["key"]]
            reused += batch["image"].data_ptr() in seen
            seen.add(batch["image"].data_ptr())
            kind = rng.randrange(8)
            if kind == 0:
                held.append((rows, batch["image"]))
            elif kind == 1:
                held.append((rows[3:9], batch["image"][3:9]))
            elif kind == 2:
                held.append((rows[-1:], batch["image"].numpy()[-1:]))
            elif kind == 3:
                held.append((rows, memoryview(batch["image"].view(-1).numpy())))
            elif kind == 4:
                held.append((rows, batch["image"].untyped_storage()))
            if len(held) > 9:
                held.pop(rng.randrange(len(held)))
            del batch
    assert reused
    images = data.gather(range(COUNT))["image"]
    for rows, part in held:
        if isinstance(part, torch.UntypedStorage):
            part = torch.empty(0, dtype=torch.uint8).set_(part)
        found = np.frombuffer(part, np.uint8) if isinstance(part, memoryview) else part
        np.testing.assert_array_equal(np.asarray(found).ravel(), images[rows].ravel())


def test_batches_may_be_written_to(data: ShardDataset) -> None:
    """Also if samples are cached: changes to a batch do not reach the next one."""
    for cache in (None, "memory", "device"):
        loader = Loader(data, BATCH, shuffle=True, seed=SEED, cache=cache)
        for _ in range(2):
            for batch in loader:
                batch["image"].fill_(0)
                batch["label"] -= 1
                batch["key"].clear()
        loader.set_epoch(0)
        assert_same_epochs(loader, gather_epochs(data, "global"))


def test_an_abandoned_epoch_does_not_change_a_cache(data: ShardDataset) -> None:
    for cache in ("memory", "device"):
        loader = Loader(data, BATCH, shuffle=True, seed=SEED, threads=2, cache=cache)
        list(islice(loader, 1))
        loader.set_epoch(0)
        assert_same_epochs(loader, gather_epochs(data, "global"))


@pytest.mark.parametrize("cache", [None, "memory", "device"])
@pytest.mark.parametrize("changed", [False, True])
def test_values_without_a_fixed_shape_are_copies(cache: Any, changed: bool) -> None:
    def change(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        sample["ragged"][:1] += 1
        return {"ragged": [sample["ragged"]]}

    source: SampleSource = Ragged(9).with_transform(change) if changed else Ragged(9)
    if changed and cache == "device":
        return
    loader = Loader(source, 4, shuffle=True, threads=1, cache=cache)
    for _ in range(3):
        for batch in loader:
            for key, values in zip(batch["key"], batch["ragged"], strict=True):
                expected = np.arange(int(key) + 1)
                expected[0] = int(changed)
                (array,) = values if changed else [values]
                np.testing.assert_array_equal(array, expected)
                array[:] = -1


@pytest.mark.parametrize("threads", [None, 0, 1, 3])
@pytest.mark.parametrize("position", [0, 2])
def test_a_window_is_read_once(
    data: ShardDataset, monkeypatch: pytest.MonkeyPatch, position: int, threads: int | None
) -> None:
    """Each rank reads only its samples, from where it resumes, also where batches span two windows."""
    opened: list[int] = []

    def open_window(self: ShardDataset, rows: NDArray[np.int64]) -> FileSet:
        opened.extend(rows.tolist())
        return original(self, rows)

    original = ShardDataset.open_window
    monkeypatch.setattr(ShardDataset, "open_window", open_window)
    blocks = Blocks(4 * 50_000, 2)
    rows = list_rows(data, "block", 0, 0, blocks)
    for rank in range(2):
        loader = Loader(data, 5, shuffle="block", rank=rank, world_size=2, threads=threads, blocks=blocks)
        loader.load_state_dict(loader.state_dict() | {"position": position})
        seen = [int(key.removeprefix("image-")) for batch in loader for key in batch["key"]]
        assert len(opened) == len(set(opened))
        assert set(seen) <= set(opened) <= set(rows[rank::2].tolist()) | {int(rows[-1])}
        opened.clear()


def test_auto_caches_sources_of_known_size_that_fit(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardDataset(root, "train") as data:
        needed = count_bytes(data)
        assert needed == COUNT * (128 * 128 * 3 + 8 + 7 * 4)
        for limit, fits in ((2 * needed, True), (2 * needed - 2, False), (0, False)):
            monkeypatch.setattr(device, "find_memory_limit", lambda limit=limit: limit)
            assert fits_memory(data) == fits
        monkeypatch.undo()
        assert fits_memory(data)
        assert not fits_memory(data.with_transform(brighten))  # the size of its results is unknown
        assert not fits_memory(Ragged(3))


@pytest.mark.parametrize("cache", [None, "memory", "device"])
def test_a_mix_is_read_the_same_in_any_way(data: ShardDataset, cache: Any) -> None:
    mix = Mix([data.take(range(40)), data.filter(lambda meta: meta["n"] % 7 == 0)], [1, 2], 50)
    for threads in (None, 0, 1, 3):
        loader = Loader(mix, BATCH, shuffle=True, seed=SEED, threads=threads, cache=cache)
        for epoch in EPOCHS:
            rows = mix.shuffle_rows(np.arange(50), SEED, epoch)
            for start, batch in zip(range(0, 50, BATCH), loader, strict=True):
                gathered = mix.gather(rows[start : start + BATCH], ReadContext(seed=SEED, epoch=epoch))
                assert_same(batch, gathered | {"valid": torch.ones(len(gathered["key"]), dtype=torch.bool)})


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [0, 2])
def test_closing_the_data_during_an_epoch_is_an_error(root: Path, access: Access, order: Order, threads: int) -> None:
    """Batches that were read before are delivered unchanged; a map that is being read stays open."""
    data = ShardDataset(root, "train", access=access)
    expected = data.gather(range(COUNT))
    sample_bytes = sum(shard.bytes for shard in data.manifest.splits["train"].shards) // COUNT
    loader = Loader(data, 4, shuffle=order, threads=threads, blocks=Blocks(4 * sample_bytes, 2))
    seen = []
    iteration = iter(loader)
    for _ in range(3):
        seen.append(next(iteration))
    data.close()
    with pytest.raises(ValueError, match="closed"):
        seen.extend(iteration)
    for batch in seen:
        rows = [expected["key"].index(key) for key in batch["key"]]
        np.testing.assert_array_equal(batch["image"].numpy(), expected["image"][rows])


class Windowed(ShardDataset):
    """A dataset that requests to be read through windows."""

    @property
    def wants_windows(self) -> bool:
        return True


def test_windows_in_order_change_no_batch(root: Path) -> None:
    """With processes or a cache the same is read without windows; states are the same."""
    with Windowed(root, "train") as data, ShardDataset(root, "train") as reference:
        expected, states = gather_epochs(reference, "none"), []
        for options in ({"threads": 0}, {"threads": 2}, {"cache": "memory"}, {"processes": 1}):
            with Loader(data, BATCH, shuffle=False, seed=SEED, blocks=BLOCKS, **options) as loader:
                states.append(loader.state_dict())
                assert_same_epochs(loader, expected)
        assert states == [Loader(reference, BATCH, shuffle=False, seed=SEED).state_dict()] * 4


@pytest.mark.parametrize("option", [{"cache": "memory"}, {"cache": "device"}, {"processes": 1}])
def test_blocks_need_threads_without_a_cache(data: ShardDataset, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="use threads"):
        Loader(data, BATCH, shuffle="block", **option)
