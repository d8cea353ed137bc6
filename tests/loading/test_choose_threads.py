"""Threads are chosen from the cores and the work in a batch; `test_loader_ways` shows that they change no batch."""

import os
import sys
import threading
from pathlib import Path

import pytest

from shardwright import Loader, Mix, ShardDataset
from shardwright.loading.stream_options import SMALL_BATCH, choose_threads, count_cores
from tests.support.loader.sets import Ragged, brighten, write_images

SAMPLE_BYTES = 128 * 128 * 3 + 8 + 7 * 4
SMALL, LARGE = SMALL_BATCH // SAMPLE_BYTES, SMALL_BATCH // SAMPLE_BYTES + 1
"""Batch sizes on both sides of the limit."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root, 20)
    return root


def test_small_batches_need_no_thread(root: Path) -> None:
    with ShardDataset(root, "train") as data:
        assert choose_threads(data, SMALL, cores=2) == 0
        assert choose_threads(data, LARGE, cores=2) == 2
        assert choose_threads(data.select(["label"]), 64 * LARGE, cores=2) == 0
        assert choose_threads(data.take(range(7)), SMALL, cores=2) == 0
        assert choose_threads(Mix([data, data]), SMALL, cores=2) == 0
        assert choose_threads(data.take([]), 10**9, cores=2) == 2


def test_what_may_wait_or_compute_is_read_ahead(root: Path) -> None:
    with ShardDataset(root, "train") as data, ShardDataset(root, "train", access="pread") as read:
        assert choose_threads(data, SMALL, cores=2, windowed=True) == 2
        assert choose_threads(data.with_transform(brighten), SMALL, cores=2) == 2
        assert choose_threads(read, SMALL, cores=2) == 2
        assert choose_threads(Mix([data, read]), SMALL, cores=2) == 2


def test_decoding_takes_more_threads(root: Path, tmp_path: Path) -> None:
    write_images(tmp_path, 3, encoding="jpeg")
    with ShardDataset(tmp_path, "train") as jpeg, ShardDataset(root, "train") as arrays:
        for data in (jpeg, Ragged(3)):
            assert [choose_threads(data, 1, cores) for cores in (0, 1, 2, 3, 64)] == [1, 1, 2, 3, 4]
        assert [choose_threads(arrays, LARGE, cores) for cores in (0, 1, 2, 3, 64)] == [1, 1, 2, 2, 2]
        assert choose_threads(jpeg.select(["label"]), 1, cores=2) == 0


def test_the_loader_says_what_it_chose(root: Path) -> None:
    with ShardDataset(root, "train") as data:
        cores = count_cores()
        assert Loader(data, LARGE, shuffle=True).threads == min(2, cores)
        assert Loader(data, LARGE, shuffle=True, world_size=cores).threads == 1  # ranks share the machine
        assert [Loader(data, SMALL, shuffle=order).threads for order in (True, False)] == [0, 0]
        assert Loader(data, SMALL, shuffle="block").threads == min(2, cores)
        assert [Loader(data, 1, shuffle=True, threads=threads).threads for threads in (0, 5)] == [0, 5]


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    ],
)
def test_cores_are_those_of_the_container(tmp_path: Path, files: dict[str, str], cores: int | None) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert count_cores(tmp_path) == (len(os.sched_getaffinity(0)) if cores is None else cores)


@pytest.mark.skipif(sys.platform != "linux", reason="sets the CPU affinity")
def test_cores_are_those_of_the_affinity() -> None:
    found: list[int] = []

    def count() -> None:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this thread alone
        found.append(count_cores())

    thread = threading.Thread(target=count)
    thread.start()
    thread.join()
    assert found == [1]
