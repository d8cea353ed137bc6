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
from tests.support.webdataset_tars import make_image, write_shards

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


def run_in_parts(program: str, source: object, folder: Path, *options: str) -> None:
    """Run an example whole, and stopped after three batches and again: both end with the same weights and loader."""
    checkpoints = [f"{folder / name}.pt" for name in ("whole", "parts")]
    whole, parts = (
        ["train", str(source), path, "--epochs", "2", "--batch-size", "16", *options] for path in checkpoints
    )
    run("-c", RUN_AGAIN, json.dumps([str(EXAMPLES / program), whole, [*parts, "--stop-after", "3"], parts]))
    ended, resumed = (torch.load(path, weights_only=True) for path in checkpoints)
    assert ended["loader"] == resumed["loader"]
    assert all(torch.equal(ended["model"][name], resumed["model"][name]) for name in ended["model"])


def test_a_plain_loop_that_was_stopped_ends_with_the_same_weights(root: Path, tmp_path: Path) -> None:
    run_in_parts("train_plain.py", root, tmp_path)


def test_training_on_tars_of_images_that_was_stopped_ends_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    samples = [
        (f"{number:03d}", {"jpg": make_image(rng, (40, 50 - number % 20), ".jpg"), "cls": b"%d" % (number % 4)})
        for number in range(51)
    ]
    write_shards(tmp_path / "tars", [samples[:30], samples[30:]])
    run_in_parts("train_webdataset.py", tmp_path / "tars", tmp_path, "--classes", "4", "--side", "32")


def test_two_processes_see_each_sample_once_in_equal_steps(root: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    said = run(*torchrun, EXAMPLES / "train_ddp.py", root)
    assert said.splitlines() == [f"epoch {epoch}: 2 steps, 51 samples of 51" for epoch in range(2)]
