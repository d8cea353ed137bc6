"""Readers give the same batches, in stored order or shuffled by seed and epoch."""

from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.errors import InputError
from pipeline.models.batches import ReadOrder, open_split, read_batches
from pipeline.models.readers import READERS
from shardwright import ShardDataset
from tests.support.factory_shards import Toy, make_shards

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_shards(tmp_path_factory.mktemp("shards"), Toy(train=23, missing=("audio",)))


@pytest.fixture
def data(shards: Path) -> ShardDataset:
    return ShardDataset(shards, "train")


def assert_same_batches(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> None:
    assert len(first) == len(second)
    for one, other in zip(first, second, strict=True):
        assert list(one) == list(other)
        assert one["key"] == other["key"]
        for name in one.keys() - {"key"}:
            assert one[name].dtype == other[name].dtype, name
            assert torch.equal(one[name], other[name]), name


@pytest.mark.parametrize("batch_size", [1, 7, 8, 100])
def test_readers_give_the_same_batches_in_stored_order(data: ShardDataset, batch_size: int) -> None:
    ours, theirs = (list(read_batches(name, data, ReadOrder(batch_size))) for name in ("shardwright", "webdataset"))
    assert_same_batches(ours, theirs)
    assert [key for batch in ours for key in batch["key"]] == [data[row]["key"] for row in range(len(data))]
    assert list(ours[0]) == ["key", *data.fields, "valid"]


@pytest.mark.parametrize("reader", READERS)
def test_the_shuffled_order_is_a_function_of_seed_and_epoch(data: ShardDataset, reader: str) -> None:
    def read(seed: int, epoch: int) -> list[dict[str, Any]]:
        return list(read_batches(reader, data, ReadOrder(4, shuffle=True, seed=seed, epoch=epoch)))

    first = read(0, 0)
    assert_same_batches(first, read(0, 0))
    orders = [[key for batch in read(*at) for key in batch["key"]] for at in ((0, 0), (0, 1), (1, 0))]
    assert len({tuple(order) for order in orders}) == 3
    assert all(sorted(order) == sorted(orders[0]) and len(set(order)) == len(data) for order in orders)


def test_a_shard_that_was_cut_is_an_error_not_a_shorter_epoch(tmp_path: Path) -> None:
    root = make_shards(tmp_path, Toy(train=14))
    data = ShardDataset(root, "train")
    shard = data.manifest.splits["train"].shards[1]
    path = root / "train" / shard.name
    path.rename(tmp_path / "whole.tar")
    path.write_bytes((tmp_path / "whole.tar").read_bytes()[: -(shard.bytes // shard.samples) - 1024] + bytes(1024))
    with pytest.raises(
        InputError, match=rf"{shard.name} is damaged, its sha256 is not the one in the manifest: remove it"
    ):
        list(read_batches("webdataset", data, ReadOrder(4)))


def test_a_split_without_samples_is_none(shards: Path, tmp_path: Path) -> None:
    assert open_split(shards, "no_such_split") is None
    with pytest.raises(InputError, match="has no dataset"):
        open_split(tmp_path, "train")
