"""Read with PyTorch's `DataLoader` in worker processes while other libraries and this one run threads:
`python -m tests.support.loader.forks ROOT METHOD TIMES METHOD TIMES …`. Exits with an error if a batch is wrong."""

import sys
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from shardwright import Loader, ShardDataset

BATCH = 7


def start_threads_of_others() -> None:
    """Start the thread pools of OpenCV, Arrow and PyTorch."""
    import cv2
    import pyarrow
    import pyarrow.compute
    import torch

    cv2.setNumThreads(4)
    cv2.GaussianBlur(np.zeros((2000, 2000, 3), np.uint8), (31, 31), 0)
    table = pyarrow.table({"n": np.arange(1_000_000)})
    assert pyarrow.compute.sum(table["n"]).as_py() == 499_999_500_000
    torch.set_num_threads(2)
    assert torch.ones(300, 300).mm(torch.ones(300, 300))[0, 0] == 300


def check(root: Path, method: str) -> None:
    """Fork or spawn while a `Loader` is in the middle of an epoch; then read all samples in the processes."""
    from torch.utils.data import DataLoader

    with ShardDataset(root, "train") as data:
        expected = data.gather(range(len(data)))
        running = iter(Loader(data, BATCH, shuffle=True, threads=2))
        next(running)
        order = np.random.default_rng(0).permutation(len(data)).tolist()
        source: Any = data  # not a subclass of `torch.utils.data.Dataset`
        loader = DataLoader(source, BATCH, sampler=order, num_workers=2, multiprocessing_context=method)
        seen = 0
        for batch in loader:
            rows = order[seen : seen + BATCH]
            seen += len(batch["key"])
            assert batch["key"] == [expected["key"][row] for row in rows]
            for name in data.fields:
                np.testing.assert_array_equal(batch[name].numpy(), expected[name][rows])
        assert seen == len(data)
        assert len(list(islice(running, 100))) == -(-len(data) // BATCH) - 1  # and the loader continues


class ThreadCounts:
    """A dataset of one sample: the threads that a loader reads with in the process that reads the sample."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        return self._loader.threads


def check_threads(root: Path) -> None:
    """A loader that is read in one of several worker processes starts no threads of its own, unless it is told to."""
    from torch.utils.data import DataLoader

    with ShardDataset(root, "train") as data:
        for threads, expected in ((None, 0), (3, 3)):
            counts: Any = ThreadCounts(Loader(data, 1000, shuffle=True, threads=threads))
            assert counts[0] == threads or counts[0] > 0
            assert [batch.tolist() for batch in DataLoader(counts, num_workers=1)] == [[expected]]


def main() -> None:
    root, *asked = sys.argv[1:]
    start_threads_of_others()
    for method, times in zip(asked[::2], asked[1::2], strict=True):
        for _ in range(int(times)):
            check(Path(root), method)
        if method == "fork":
            check_threads(Path(root))
        sys.stdout.write(f"{times} times by {method}\n")


if __name__ == "__main__":
    main()
