"""Memory does not grow from epoch to epoch, whatever is decoded, in threads and in processes."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.loader.epochs import FILES

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="reads the memory of processes in /proc"),
]

CHECKOUT = Path(__file__).parents[2]
EPOCHS = 20
GROWTH_KB = {"threads": 1024, "processes": 8192}
"""It grew by 0 to 0.4 MB when measured, in threads; the batches of 10 epochs are 3 MB and more, 30 MB of
images. In workers, which cannot be asked to return what they freed, it levels off after 30 epochs."""
FRUGAL = {"MALLOC_ARENA_MAX": "1", "MALLOC_TRIM_THRESHOLD_": "131072"}
"""The allocator of workers returns memory, which they cannot be asked to do."""


def read_epochs(folder: Path, medium: str, **options: Any) -> list[int]:
    arguments = map(str, (folder, medium, EPOCHS, json.dumps(options)))
    command = [sys.executable, "-m", "tests.support.loader.epochs", *arguments]
    run = subprocess.run(
        command, cwd=CHECKOUT, env=os.environ | FRUGAL, capture_output=True, text=True, timeout=600, check=False
    )
    assert run.returncode == 0, run.stderr
    held: list[int] = json.loads(run.stdout.splitlines()[-1])
    return held


def check_flat(held: list[int], growth_kb: int) -> None:
    """Compare the least of the second half with that of the first, without the epochs that fill pools and caches."""
    assert len(held) == EPOCHS
    assert min(held[EPOCHS // 2 :]) - min(held[2 : EPOCHS // 2]) < growth_kb, held


@pytest.mark.parametrize("medium", ["images", "audio"])
def test_memory_is_flat_over_twenty_epochs(medium: str, tmp_path: Path) -> None:
    check_flat(read_epochs(tmp_path, medium, threads=2), GROWTH_KB["threads"])


@pytest.mark.sweep
def test_memory_is_flat_over_twenty_epochs_of_every_medium(tmp_path: Path) -> None:
    print("\n| medium | read by | MB after epochs 1, 3, 10, 20 |")
    print("| --- | --- | --- |")
    for medium in FILES:
        for kind, number in (("threads", 0), ("threads", 2), ("processes", 2)):
            name = f"{kind}={number}"
            held = read_epochs(tmp_path / medium / name, medium, **{kind: number})
            print(f"| {medium} | {name} | {', '.join(f'{held[epoch] / 1024:.1f}' for epoch in (0, 2, 9, 19))} |")
            check_flat(held, GROWTH_KB[kind])
