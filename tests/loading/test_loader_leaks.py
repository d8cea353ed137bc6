"""Abandoned loaders leak no thread, descriptor, map, process or memory; forking beside threads does not hang."""

import gc
import json
import subprocess
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from shardwright import Loader, ShardDataset
from shardwright.loading.prefetch import THREADS, read_ahead
from tests.support.loader.sets import Ragged, write_images
from tests.support.waiting import wait_for

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="counts what a process holds in /proc")
GROWTH_KB = 8192
"""Growth of resident memory, which varies by a few MB; leaking one batch of each cycle would be 100 MB and more."""
PATIENCE = 600.0
"""Seconds after which a separate process counts as hanging."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("images")
    write_images(root, 61)
    return root


def run_module(name: str, *arguments: object) -> str:
    run = subprocess.run(
        [sys.executable, "-m", f"tests.support.{name}", *map(str, arguments)],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def check_cycles(root: Path, kind: str, cycles: int) -> list[dict[str, int]]:
    outcome: dict[str, Any] = json.loads(run_module("loader.cycles", root, kind, cycles))
    held: list[dict[str, int]] = outcome["held"]
    assert outcome["complaints"] == []
    resident = [counts.pop("resident kB") for counts in held]
    for counts in held:
        assert counts == held[0]
        assert (counts["threads"], counts["maps of shards"], counts["children"]) == (1, 0, 0)
        assert counts["shared memory"] == 0
    half = len(resident) // 2
    assert min(resident[half:]) - min(resident[:half]) < GROWTH_KB, resident
    return [counts | {"resident kB": kb} for counts, kb in zip(held, resident, strict=True)]


@LINUX
@pytest.mark.parametrize(("kind", "cycles"), [("all but processes", 120), ("processes", 5)])
def test_abandoned_loaders_leak_nothing(root: Path, kind: str, cycles: int) -> None:
    check_cycles(root, kind, cycles)


@LINUX
@pytest.mark.sweep
def test_a_thousand_abandoned_loaders_leak_nothing(root: Path) -> None:
    print(
        "\n| read by | opened and abandoned | threads | descriptors | shared memory | maps | children | resident MB |"
    )
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for kind, cycles in (("threads", 1000), ("blocks", 1000), ("caches", 1000), ("processes", 100)):
        held = check_cycles(root, kind, cycles)
        numbers = [f"{one} → {other}" for one, other in zip(held[0].values(), held[-1].values(), strict=True)]
        resident = " → ".join(f"{counts['resident kB'] / 1024:.0f}" for counts in held)
        print(f"| {kind} | {cycles} | {' | '.join(numbers[:-1])} | {resident} |")


@LINUX
def test_pytorchs_dataloader_reads_the_same_in_processes(root: Path) -> None:
    """Forked while threads run here, or spawned: it ends, and the samples are the same."""
    assert run_module("loader.forks", root, "fork", 5, "spawn", 1) == "5 times by fork\n1 times by spawn\n"


@LINUX
@pytest.mark.sweep
def test_two_hundred_forks_do_not_hang(root: Path) -> None:
    for method, times in (("fork", 200), ("forkserver", 10), ("spawn", 10)):
        run_module("loader.forks", root, method, times)
        print(f"\n{times} times by {method}: no hang, the same samples")


@pytest.mark.parametrize("access", ["map", "pread"])
def test_pytorchs_dataloader_reads_the_same_in_this_process(root: Path, access: Any) -> None:
    with ShardDataset(root, "train", access=access) as data:
        expected = data.gather(range(len(data)))
        source: Any = data  # not a subclass of `torch.utils.data.Dataset`
        batches = list(DataLoader(source, 7, shuffle=False))
        assert [key for batch in batches for key in batch["key"]] == expected["key"]
        for name in data.fields:
            found = torch.cat([batch[name] for batch in batches])
            np.testing.assert_array_equal(found.numpy(), expected[name])
        shuffled = DataLoader(source, 7, shuffle=True)
        assert sorted(key for batch in shuffled for key in batch["key"]) == sorted(expected["key"])


def test_an_iteration_released_by_its_own_thread_does_not_deadlock() -> None:
    """As the garbage collector may cause: a thread that closed its own pool would wait for itself."""
    release = threading.Event()
    held: list[Any] = []

    def read(number: int) -> int:
        if number == 2:
            release.wait()
            held.clear()  # the last reference
        return number

    held.append(read_ahead(read, range(10), 1))
    assert next(held[0]) == 0
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith(THREADS):
            thread.join(PATIENCE)
    assert not list_readers()


def test_iterations_are_collected_in_any_thread() -> None:
    """Iterations in reference cycles, collected often, also by threads that read for other iterations."""
    before = gc.get_threshold()
    gc.set_threshold(5, 1, 1)
    try:
        for _ in range(30):
            iteration = iter(Loader(Ragged(40), 2, shuffle=True, threads=3))
            list(islice(iteration, 3))
            cycle: list[Any] = [iteration]
            cycle.append(cycle)
            del iteration, cycle
    finally:
        gc.set_threshold(*before)
    gc.collect()
    wait_for(lambda: not list_readers())  # one that was released by a thread of another is not waited for


def list_readers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]
