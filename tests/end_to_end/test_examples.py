"""The examples of training code run, and resume where they were stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from shardwright import Field, ShardWriter

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
FIELDS = {"image": Field("uint8", (4, 4, 3), axes="HWC"), "label": Field("int64", ())}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with ShardWriter(tmp_path / "shards", "train", FIELDS, 20) as writer:
        for number in range(51):
            image = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            writer.write(f"sample-{number}", {"image": image, "label": number % 10})
    return tmp_path / "shards"


RUN_AGAIN = """
import json, runpy, sys
program, *runs = json.loads(sys.argv[1])
for sys.argv in runs:
    runpy.run_path(program, run_name="__main__")
"""
"""Runs a program several times in one process: to import torch takes longer than the program."""


def run(*arguments: object) -> str:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_plain_loop_that_was_stopped_ends_with_the_same_weights(root: Path, tmp_path: Path) -> None:
    options = ["--epochs", "2", "--batch-size", "16"]
    whole, parts = (["train", str(root), str(tmp_path / f"{name}.pt"), *options] for name in ("whole", "parts"))
    runs = [str(EXAMPLES / "train_plain.py"), whole, [*parts, "--stop-after", "3"], parts]
    run("-c", RUN_AGAIN, json.dumps(runs))
    ended, resumed = (torch.load(tmp_path / f"{name}.pt", weights_only=True) for name in ("whole", "parts"))
    assert ended["loader"] == resumed["loader"]
    assert all(torch.equal(ended["model"][name], resumed["model"][name]) for name in ended["model"])


def test_two_processes_see_each_sample_once_in_equal_steps(root: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    said = run(*torchrun, EXAMPLES / "train_ddp.py", root)
    assert said.splitlines() == [f"epoch {epoch}: 2 steps, 51 samples of 51" for epoch in range(2)]
