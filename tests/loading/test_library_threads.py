"""Libraries compute with one thread while batches are read, and as before afterwards."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from shardwright import Loader, ShardDataset
from tests.support.loader.sets import write_numbers


@pytest.fixture
def data(tmp_path: Path) -> Iterator[ShardDataset]:
    write_numbers(tmp_path, 12, 5)
    with ShardDataset(tmp_path, "train") as opened:
        yield opened


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[None]:
    before = cv2.getNumThreads(), torch.get_num_threads()
    cv2.setNumThreads(3)
    torch.set_num_threads(2)
    yield
    cv2.setNumThreads(before[0])
    torch.set_num_threads(before[1])


def count_threads(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    return {"opencv": cv2.getNumThreads(), "torch": torch.get_num_threads()}


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_transforms_get_one_thread_and_the_rest_keeps_its_own(data: ShardDataset, threads: int) -> None:
    loader = Loader(data.with_transform(count_threads), 3, shuffle=True, threads=threads)
    for batch in loader:
        assert batch["opencv"].tolist() == batch["torch"].tolist() == [1, 1, 1]
        assert torch.get_num_threads() == 2
    assert (cv2.getNumThreads(), torch.get_num_threads()) == (3, 2)


def test_the_last_of_several_iterations_restores(data: ShardDataset) -> None:
    iterations = [iter(Loader(data, 3, shuffle=True, threads=1)) for _ in range(2)]
    for iteration in iterations:
        next(iteration)
    assert cv2.getNumThreads() == 1
    list(iterations[0])
    assert cv2.getNumThreads() == 1
    del iterations, iteration
    assert cv2.getNumThreads() == 3


def test_a_failing_transform_and_an_abandoned_epoch_restore(data: ShardDataset) -> None:
    def fail(sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        raise ArithmeticError

    with pytest.raises(ArithmeticError):
        list(Loader(data.with_transform(fail), 3, shuffle=True, threads=0))
    assert (cv2.getNumThreads(), torch.get_num_threads()) == (3, 2)
    list(islice(Loader(data, 3, shuffle=True, threads=1), 1))
    assert cv2.getNumThreads() == 3


def test_a_number_that_is_set_meanwhile_stays(data: ShardDataset) -> None:
    for _ in Loader(data, 3, shuffle=True, threads=0):
        cv2.setNumThreads(2)
    assert cv2.getNumThreads() == 2
