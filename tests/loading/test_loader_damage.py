"""Damage while loading: an error that locates it before the sample is delivered, or a record of what was skipped."""

import logging
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shardwright import DamageError, Field, Loader, ShardDataset, ShardWriter
from shardwright.datasets.base import SampleSource
from shardwright.format.layout import plan_layout
from shardwright.loading.batch_reader import Skip
from shardwright.loading.loader import Order
from shardwright.remote.location import Access
from tests.support.loader.sets import BLOCKS, ORDERS, draw_numbers, flip_bit, write_numbers
from tests.support.shard_samples import KINDS, SMALL_FIELDS, find_member, write_small

pytestmark = pytest.mark.slow

COUNT, BATCH, PER_SHARD = 26, 4, 6


@dataclass(frozen=True)
class Way:
    """How samples are read; damage must be found in each way."""

    order: Order
    threads: int = 0
    access: Access = "map"
    cache: Any = None


WAYS = [
    *(Way(order, threads, access) for order in ORDERS for threads in (0, 2) for access in ("map", "pread")),
    *(Way("global", threads, "map", cache) for threads in (0, 2) for cache in ("memory", "device")),
]


@pytest.fixture(scope="module", params=KINDS)
def intact(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("intact")
    write_small(root, COUNT, samples_per_shard=PER_SHARD, fields=KINDS[request.param])
    return root


@pytest.fixture
def root(intact: Path, tmp_path: Path) -> Path:
    """A copy of the intact dataset to damage."""
    return Path(shutil.copytree(intact, tmp_path / "copy"))


def damage(root: Path, row: int, member: int = 0, byte: int = 128) -> tuple[str, str, str, int]:
    """Flip a bit of a sample; return its location as errors have it: shard, sample, field, offset."""
    with ShardDataset(root, "train") as data:
        shard, key = data.find_shard(row), data.keys[row].decode()
        name, field = list(data.fields.items())[member]
    offset, _ = find_member(root / "train" / shard, f"{key}.{name}.{field.suffix}")
    flip_bit(root / "train" / shard, 8 * (offset + byte))
    return shard, key, name, offset


def locate(error: DamageError | Skip) -> tuple[str | None, str | None, str | None, int | None]:
    return error.shard, error.sample, error.field, error.offset


def load(data: SampleSource, way: Way, **options: Any) -> Loader:
    defaults: dict[str, Any] = {"batch_size": BATCH, "seed": 2, "shuffle": way.order, "blocks": BLOCKS}
    return Loader(data, **defaults | {"threads": way.threads, "cache": way.cache} | options)


def list_valid(batches: Any) -> list[str]:
    return [key for batch in batches for key, valid in zip(batch["key"], batch["valid"], strict=True) if valid]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_an_error_locates_the_damage_before_delivery_and_can_be_resumed_from(root: Path, way: Way) -> None:
    with ShardDataset(root, "train") as data:
        whole = list_valid(load(data, way, cache=None))
    row = 15
    where = damage(root, row, 1, 130)
    seen: list[str] = []
    with ShardDataset(root, "train", access=way.access) as data:
        loader = load(data, way)
        with pytest.raises(DamageError) as caught:
            seen.extend(key for batch in loader for key in batch["key"])
        assert locate(caught.value) == where
        for word in (where[0], repr(where[1]), where[2], f"byte {where[3]}"):
            assert word in str(caught.value)
        state = loader.state_dict()
        loader.load_state_dict(state)
        with pytest.raises(DamageError):  # it is raised again
            next(iter(loader))
        assert loader.state_dict() == state
    assert seen == whole[: whole.index(where[1]) // BATCH * BATCH]
    damage(root, row, 1, 130)  # flips the bit back
    with ShardDataset(root, "train", access=way.access) as data:
        repaired = load(data, way)
        repaired.load_state_dict(state)
        assert seen + list_valid(repaired) == whole


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_only_damaged_samples_are_skipped(root: Path, way: Way) -> None:
    with ShardDataset(root, "train") as data:
        originals = data.gather(range(COUNT))
        whole = list(load(data, way, cache=None))
    rows = {2: damage(root, 2), 15: damage(root, 15, 2, 0), 25: damage(root, 25, 1, 7)}
    with ShardDataset(root, "train", access=way.access) as data:
        loader = load(data, way, on_error="skip")
        for _ in range(2):
            batches = list(loader)
            assert [len(batch["key"]) for batch in batches] == [len(batch["key"]) for batch in whole]
            assert {skip.row: locate(skip) for skip in loader.skipped} == rows
            assert len(loader.skipped) == len(rows)
            for batch in batches:
                numbers = [originals["key"].index(key) for key in batch["key"]]
                assert not set(numbers) & rows.keys()
                for name in SMALL_FIELDS:
                    np.testing.assert_array_equal(batch[name].numpy(), originals[name][numbers])
                assert {name: values.dtype for name, values in batch.items() if name != "key"} == {
                    name: values.dtype for name, values in whole[0].items() if name != "key"
                }
            assert len(list_valid(batches)) == COUNT - len(rows)
        loader.set_epoch(0)
        damaged_keys = {where[1] for where in rows.values()}
        assert list_valid(loader) == [key for key in list_valid(whole) if key not in damaged_keys]


def test_a_skip_records_where_and_what(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    where = damage(root, 9)
    with ShardDataset(root, "train") as data, caplog.at_level(logging.WARNING, "shardwright"):
        loader = load(data, Way("none"), on_error="skip")
        loader.set_epoch(4)
        list(loader)
    (skip,) = loader.skipped
    assert (skip.epoch, skip.row, locate(skip)) == (4, 9, where)
    assert all(word in skip.what for word in (where[0], where[1], "crc32"))
    assert [record.getMessage() for record in caplog.records] == [f"skipped a damaged sample: {skip.what}"]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_a_batch_of_only_damaged_samples_keeps_its_shape(root: Path, way: Way) -> None:
    with ShardDataset(root, "train") as data:
        second = list(load(data, way, cache=None))[1]["key"]
        rows = sorted(data.find_sample(key) for key in second)
    for row in rows:
        damage(root, row)
    with ShardDataset(root, "train", access=way.access) as data:
        loader = load(data, way, on_error="skip")
        batches = list(loader)
    assert not batches[1]["valid"].any()
    assert batches[1]["image"].shape == (BATCH, 5, 7, 3)
    assert not set(batches[1]["key"]) & set(second)
    assert len(list_valid(batches)) == COUNT - BATCH
    assert sorted(skip.row for skip in loader.skipped) == rows


@pytest.mark.parametrize("order", ORDERS)
def test_a_damaged_sample_used_as_padding_is_lost_once(root: Path, order: Order) -> None:
    """26 samples on 4 ranks: two are repeated. Each sample is damaged in turn."""
    pristine = (root / "train").rename(root / "pristine")
    for row in range(COUNT):
        shutil.copytree(pristine, root / "train")
        where = damage(root, row)
        with ShardDataset(root, "train") as data:
            ranks = [
                load(data, Way(order), batch_size=3, rank=rank, world_size=4, on_error="skip") for rank in range(4)
            ]
            epochs = [list(loader) for loader in ranks]
        assert len({tuple(len(batch["key"]) for batch in epoch) for epoch in epochs}) == 1
        valid = list_valid(chain(*epochs))
        assert len(set(valid)) == len(valid) == COUNT - 1
        skips = [skip for loader in ranks for skip in loader.skipped]
        assert 1 <= len(skips) <= 2  # once by each rank that reads it
        assert {locate(skip) for skip in skips} == {where}
        shutil.rmtree(root / "train")


def test_a_sample_repeated_in_a_batch_is_recorded_once(tmp_path: Path) -> None:
    write_numbers(tmp_path, 3, 3)
    flip_bit(tmp_path / "train" / "train-000000.tar", 8 * (2 * 2048 + 512 + 128))
    with ShardDataset(tmp_path, "train") as data:
        loaders = [
            Loader(data, 2, shuffle=False, rank=rank, world_size=2, on_error="skip", threads=0) for rank in range(2)
        ]
        assert list_valid(chain(*loaders)) == ["00000", "00001"]
        assert [[skip.row for skip in loader.skipped] for loader in loaders] == [[2], [2]]
        many = [Loader(data, 5, shuffle=False, rank=r, world_size=2, on_error="skip", threads=0) for r in range(2)]
        assert list_valid(chain(*many)) == ["00000", "00001"]
        assert [len(loader.skipped) for loader in many] == [1, 1]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_exceeding_the_budget_raises_a_summary(root: Path, way: Way) -> None:
    rows = (1, 2, 8, 14, 15, 16, 17)
    for row in rows:
        damage(root, row)
    with ShardDataset(root, "train", access=way.access) as data:
        loader = load(data, way, on_error="skip", skip_budget=len(rows))
        assert len(list_valid(loader)) == COUNT - len(rows)  # just enough
        tight = load(data, way, on_error="skip", skip_budget=len(rows) - 1)
        with pytest.raises(DamageError) as caught:
            list(tight)
    message = str(caught.value)
    assert "7 samples of epoch 0 are damaged; skip_budget allows 6" in message
    assert "train-000002.tar (4), train-000000.tar (2), train-000001.tar (1)" in message
    assert caught.value.sample in {skip.sample for skip in tight.skipped}
    assert len(tight.skipped) == 7


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_nothing_is_delivered_if_all_samples_are_damaged(root: Path, way: Way) -> None:
    for row in range(COUNT):
        damage(root, row)
    with ShardDataset(root, "train", access=way.access) as data:
        loader = load(data, way, on_error="skip")
        with pytest.raises(DamageError, match=rf"all {COUNT} samples .* are damaged, so none can replace it") as caught:
            next(iter(loader))
        assert None not in locate(caught.value)


@pytest.mark.parametrize("budget", [-1])
def test_a_budget_must_not_be_negative(root: Path, budget: int) -> None:
    with ShardDataset(root, "train") as data, pytest.raises(ValueError, match="skip_budget is -1"):
        load(data, Way("none"), on_error="skip", skip_budget=budget)


def test_views_skip_damaged_samples_of_their_base(tmp_path: Path) -> None:
    """A subset and a transform: the record names the sample, and the random numbers of others are unchanged."""
    write_numbers(tmp_path, 20, 8)
    with ShardDataset(tmp_path, "train") as data:
        view = data.filter(lambda meta: meta["n"] % 2 == 0).with_transform(draw_numbers)
        whole = {
            key: draw for b in Loader(view, 3, shuffle=True) for key, draw in zip(b["key"], b["draw"], strict=True)
        }
    flip_bit(tmp_path / "train" / "train-000001.tar", 8 * (2 * 2048 + 512 + 128))
    with ShardDataset(tmp_path, "train") as data:
        view = data.filter(lambda meta: meta["n"] % 2 == 0).with_transform(draw_numbers)
        loader = Loader(view, 3, shuffle=True, on_error="skip")
        for batch in loader:
            assert all(whole[key] == draw for key, draw in zip(batch["key"], batch["draw"], strict=True))
        assert [(skip.row, skip.sample, skip.shard) for skip in loader.skipped] == [(5, "00010", "train-000001.tar")]


CUTS: dict[str, Callable[[Path], Any]] = {
    "cut": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("what", CUTS)
def test_a_shard_truncated_while_it_is_open(root: Path, what: str, order: Order, threads: int) -> None:
    """Read by system calls, remaining samples are delivered; the others raise or are skipped, with their key."""
    with ShardDataset(root, "train", access="pread") as data:
        loader = load(data, Way(order, threads, "pread"), on_error="skip")
        whole = list_valid(loader)
        shard = data.manifest.splits["train"].shards[1]
        path, rows = root / "train" / shard.name, range(PER_SHARD, 2 * PER_SHARD)
        ends = [sum(find_member(path, f"{data.keys[row].decode()}.label.npy")) for row in rows]
        CUTS[what](path)
        gone = {row for row, end in zip(rows, ends, strict=True) if end > path.stat().st_size}
        loader.set_epoch(0)
        assert list_valid(loader) == [key for key in whole if data.find_sample(key) not in gone]
        assert {skip.row for skip in loader.skipped} == gone
        for skip in loader.skipped:
            assert (skip.shard, skip.sample) == (shard.name, data.keys[skip.row].decode())
        with pytest.raises(DamageError, match=shard.name) as caught:
            list(load(data, Way(order, threads, "pread")))
        assert caught.value.shard == shard.name


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_a_shard_overwritten_while_it_is_open_is_checked_again(root: Path, order: Order, threads: int) -> None:
    """Also samples that were checked before: read by system calls, each later delivery is checked."""
    with ShardDataset(root, "train", access="pread") as data:
        loader = load(data, Way(order, threads, "pread"))
        assert len(list_valid(loader)) == COUNT
        where = damage(root, 9)
        with pytest.raises(DamageError) as caught:
            list(loader)
        assert locate(caught.value) == where


@pytest.fixture
def large_samples(tmp_path: Path) -> tuple[Path, torch.Tensor]:
    """Samples of 1 MB in one shard, so that batches are in pooled buffers."""
    images = np.random.default_rng(0).integers(0, 256, (6, 1 << 20), np.uint8)
    with ShardWriter(tmp_path, "train", {"image": Field("uint8", (1 << 20,))}) as writer:
        for n, image in enumerate(images):
            writer.write(str(n), {"image": image})
    return tmp_path, torch.from_numpy(images)


@pytest.mark.parametrize("threads", [0, 2])
@pytest.mark.parametrize("order", ORDERS)
def test_reused_memory_has_nothing_of_a_damaged_sample(
    large_samples: tuple[Path, torch.Tensor], order: Order, threads: int
) -> None:
    root, images = large_samples
    layout = plan_layout({"image": Field("uint8", (1 << 20,))}, 512)
    flip_bit(root / "train" / "train-000000.tar", 8 * (3 * layout.stride + 900_000))
    with ShardDataset(root, "train") as data:
        loader = Loader(data, 2, shuffle=order, threads=threads, on_error="skip")
        held = [batch for _ in range(3) for batch in loader]
    for batch in held:
        assert "3" not in batch["key"]
        assert torch.equal(batch["image"], images[[int(key) for key in batch["key"]]])
