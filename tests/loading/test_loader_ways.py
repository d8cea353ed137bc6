"""Threads, processes, caches, maps and blocks give the same batches, and none touches one that is held."""

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
from shardwright.datasets.base import ReadContext, SampleSource
from shardwright.datasets.mix import Mix
from shardwright.loading import device
from shardwright.loading.device import count_bytes, fits_memory
from shardwright.loading.loader import Order
from shardwright.loading.window_reader import Blocks
from shardwright.remote.location import Access
from shardwright.storage.file_set import FileSet
from tests.support.loader_sets import BLOCKS, ORDERS, Ragged, brighten, list_rows, write_pictures

COUNT, BATCH, SEED = 61, 24, 5
EPOCHS = range(3)
ACCESSES: tuple[Access, ...] = ("map", "pread")


@pytest.fixture(scope="module", params=["npy", "jpeg"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pictures")
    write_pictures(root, COUNT, encoding=request.param)
    return root


@pytest.fixture(scope="module", params=ACCESSES)
def data(root: Path, request: pytest.FixtureRequest) -> Iterator[ShardDataset]:
    with ShardDataset(root, "train", access=request.param) as opened:
        yield opened


def look(data: SampleSource, view: str) -> SampleSource:
    """A source with the samples of `data`, seen otherwise."""
    if view == "plain":
        return data
    if view == "some":
        return data.filter(lambda meta: meta["n"] % 3 > 0).select(["wave", "label"])
    return data.with_transform(brighten)


def read_plainly(source: SampleSource, order: Order, epoch: int) -> Iterator[dict[str, Any]]:
    """The batches of an epoch, gathered one by one."""
    rows = list_rows(source, order, SEED, epoch)  # type: ignore[arg-type]  # a view has blocks as well
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        batch = source.gather(part, ReadContext(seed=SEED, epoch=epoch))
        yield batch | {"valid": torch.ones(len(part), dtype=torch.bool)}


def assert_same(found: dict[str, Any], wanted: dict[str, Any]) -> None:
    assert list(found) == list(wanted)
    for name, values in wanted.items():
        if isinstance(values, list):
            assert found[name] == values
        else:
            tensor = values if isinstance(values, torch.Tensor) else torch.from_numpy(values)
            assert found[name].dtype == tensor.dtype
            assert torch.equal(found[name], tensor), name


def assert_same_epochs(loader: Loader, source: SampleSource, order: Order) -> None:
    for epoch in EPOCHS:
        found, wanted = list(loader), list(read_plainly(source, order, epoch))
        assert len(found) == len(wanted)
        for batch, plain in zip(found, wanted, strict=True):
            assert_same(batch, plain)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("view", ["plain", "some", "changed"])
def test_any_number_of_threads_gives_the_same(data: ShardDataset, view: str, order: Order) -> None:
    source = look(data, view)
    for threads in (None, 0, 1, 2, 3, 5, 8):
        loader = Loader(source, BATCH, shuffle=order, seed=SEED, threads=threads, blocks=BLOCKS)
        assert_same_epochs(loader, source, order)


@pytest.mark.parametrize("cache", ["memory", "auto", "device"])
@pytest.mark.parametrize("view", ["plain", "some", "changed"])
def test_a_cache_gives_the_same(root: Path, view: str, cache: Any) -> None:
    for threads, access in ((None, "map"), (0, "map"), (2, "map"), (2, "pread")):
        with ShardDataset(root, "train", access=access) as data:  # type: ignore[arg-type]
            source = look(data, view)
            if cache == "device" and not source.fixed:
                with pytest.raises(ValueError, match="transform"):
                    Loader(source, BATCH, shuffle=True, cache=cache)
                continue
            loader = Loader(source, BATCH, shuffle=True, seed=SEED, threads=threads, cache=cache)
            assert_same_epochs(loader, source, "global")


@pytest.mark.parametrize(("processes", "view", "access"), [(1, "plain", "pread"), (2, "changed", "map")])
def test_processes_give_the_same(root: Path, processes: int, view: str, access: Any) -> None:
    with ShardDataset(root, "train", access=access) as data:
        source = look(data, view)
        with Loader(source, BATCH, shuffle=True, seed=SEED, processes=processes) as loader:
            assert_same_epochs(loader, source, "global")


@pytest.mark.parametrize("threads", [None, 0, 1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_nothing_that_is_held_ever_changes(data: ShardDataset, order: Order, threads: int | None) -> None:
    """Whole batches, views of them, arrays of the same memory: whatever is held of a batch keeps its memory."""
    rng = random.Random(-1 if threads is None else threads)
    loader = Loader(data, BATCH, shuffle=order, seed=1, threads=threads, blocks=BLOCKS)
    held: list[tuple[list[int], Any]] = []
    reused = 0
    seen: set[int] = set()
    for _ in range(12):
        for batch in loader:
            rows = [int(key.removeprefix("picture-")) for key in batch["key"]]
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
    """Also where the samples are kept in memory: what the user does to a batch is no business of the next one."""
    for cache in (None, "memory", "device"):
        loader = Loader(data, BATCH, shuffle=True, seed=SEED, cache=cache)
        for _ in range(2):
            for batch in loader:
                batch["image"].fill_(0)
                batch["label"] -= 1
                batch["key"].clear()
        loader.set_epoch(0)
        assert_same_epochs(loader, data, "global")


def test_an_epoch_that_is_left_changes_no_cache(data: ShardDataset) -> None:
    for cache in ("memory", "device"):
        loader = Loader(data, BATCH, shuffle=True, seed=SEED, threads=2, cache=cache)
        list(islice(loader, 1))
        assert_same_epochs(loader, data, "global")


@pytest.mark.parametrize("cache", [None, "memory", "device"])
@pytest.mark.parametrize("changed", [False, True])
def test_what_has_no_one_shape_is_a_value_of_the_batch_s_own(cache: Any, changed: bool) -> None:
    def spoil(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        sample["ragged"][:1] += 1
        return {"ragged": [sample["ragged"]]}

    source: SampleSource = Ragged(9).with_transform(spoil) if changed else Ragged(9)
    if changed and cache == "device":
        return
    loader = Loader(source, 4, shuffle=True, threads=1, cache=cache)
    for _ in range(3):
        for batch in loader:
            for key, values in zip(batch["key"], batch["ragged"], strict=True):
                wanted = np.arange(int(key) + 1)
                wanted[0] = int(changed)
                (array,) = values if changed else [values]
                np.testing.assert_array_equal(array, wanted)
                array[:] = -1


@pytest.mark.parametrize("threads", [None, 0, 1, 3])
@pytest.mark.parametrize("position", [0, 2])
def test_a_window_is_read_once(
    data: ShardDataset, monkeypatch: pytest.MonkeyPatch, position: int, threads: int | None
) -> None:
    """By each rank its own samples alone; from where it goes on; though batches reach over the ends of windows."""
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
        seen = [int(key.removeprefix("picture-")) for batch in loader for key in batch["key"]]
        assert len(opened) == len(set(opened))
        assert set(seen) <= set(opened) <= set(rows[rank::2].tolist()) | {int(rows[-1])}
        opened.clear()


def test_auto_keeps_what_fits_and_has_a_size(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ShardDataset(root, "train") as data:
        needed = count_bytes(data)
        assert needed == COUNT * (128 * 128 * 3 + 8 + 7 * 4)
        for limit, fits in ((2 * needed, True), (2 * needed - 2, False), (0, False)):
            monkeypatch.setattr(device, "find_memory_limit", lambda limit=limit: limit)
            assert fits_memory(data) == fits
        monkeypatch.undo()
        assert fits_memory(data)
        assert not fits_memory(data.with_transform(brighten))  # nobody knows what it returns
        assert not fits_memory(Ragged(3))


@pytest.mark.parametrize("cache", [None, "memory", "device"])
def test_a_mix_is_the_same_in_any_way(data: ShardDataset, cache: Any) -> None:
    mix = Mix([data.take(range(40)), data.filter(lambda meta: meta["n"] % 7 == 0)], [1, 2], 50)
    for threads in (None, 0, 1, 3):
        loader = Loader(mix, BATCH, shuffle=True, seed=SEED, threads=threads, cache=cache)
        for epoch in EPOCHS:
            rows = mix.shuffle_rows(np.arange(50), SEED, epoch)
            for start, batch in zip(range(0, 50, BATCH), loader, strict=True):
                plain = mix.gather(rows[start : start + BATCH], ReadContext(seed=SEED, epoch=epoch))
                assert_same(batch, plain | {"valid": torch.ones(len(plain["key"]), dtype=torch.bool)})


@pytest.mark.parametrize("access", ACCESSES)
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("threads", [0, 2])
def test_closing_the_data_in_the_middle_ends_in_an_error(
    root: Path, access: Access, order: Order, threads: int
) -> None:
    """What was read before is delivered, and whole; a map that is still read stays."""
    data = ShardDataset(root, "train", access=access)
    wanted = data.gather(range(COUNT))
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
        rows = [wanted["key"].index(key) for key in batch["key"]]
        np.testing.assert_array_equal(batch["image"].numpy(), wanted["image"][rows])


class Windowed(ShardDataset):
    """A dataset that is best read through windows, as one that is far away."""

    @property
    def wants_windows(self) -> bool:
        return True


def test_windows_in_order_are_a_way_to_read_and_nothing_else(root: Path) -> None:
    """Where they cannot be had, the same is read without; a state fits both."""
    with Windowed(root, "train") as data, ShardDataset(root, "train") as plain:
        states = []
        for options in ({"threads": 0}, {"threads": 2}, {"cache": "memory"}, {"processes": 1}):
            with Loader(data, BATCH, shuffle=False, seed=SEED, blocks=BLOCKS, **options) as loader:
                states.append(loader.state_dict())
                assert_same_epochs(loader, plain, "none")
        assert states == [Loader(plain, BATCH, shuffle=False, seed=SEED).state_dict()] * 4


@pytest.mark.parametrize("option", [{"cache": "memory"}, {"cache": "device"}, {"processes": 1}])
def test_blocks_go_with_threads_alone(data: ShardDataset, option: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="use threads"):
        Loader(data, BATCH, shuffle="block", **option)
