"""Trainers of others, killed twice and resumed: the losses of a run that was not killed, to the last digit."""

from pathlib import Path

import numpy as np
import pytest

from shardwright import Field, ShardWriter
from tests.support.forked_ranks import Example

EXAMPLES = Path(__file__).parents[2] / "examples"
RUNS = {
    "ddp": ("resume_ddp.py",),
    "trainer": ("train_trainer.py",),
    "accelerate": ("train_accelerate.py",),
    "lightning": ("train_lightning.py",),
    "lightning-limit": ("train_lightning.py", "4"),
    "fsdp": ("train_fsdp.py",),
}
SAMPLES = 330
"""Of which no number of ranks has a multiple: 21, 11 and 6 steps an epoch of 16 samples a process."""


@pytest.fixture(scope="module", name="root")
def write_set(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    with ShardWriter(root, "train", {"image": Field("uint8", (4, 4, 3)), "label": Field("int64", ())}, 40) as writer:
        for n in range(SAMPLES):
            writer.write(f"sample-{n}", {"image": rng.integers(0, 256, (4, 4, 3), np.uint8), "label": n % 10})
    return root


def check_resumes(example: Example, root: Path, folder: Path) -> None:
    """Kill the example twice, and compare each loss with that of a run that was not killed; none is missing."""
    whole = example.run(root, folder / "whole")
    assert list(whole) == list(range(1, len(whole) + 1))
    assert len(set(whole.values())) > len(whole) // 2
    seen: dict[int, str] = {}
    for kill_after in (5, 5, 0):
        part = example.run(root, folder / "killed", kill_after)
        assert part == {step: whole[step] for step in part}
        assert min(part) <= max(seen, default=0) + 1
        assert not seen or min(part) > 1
        seen |= part
    assert seen == whole


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("name", RUNS)
def test_killed_twice_and_resumed(root: Path, tmp_path: Path, name: str, ranks: int) -> None:
    script, *options = RUNS[name]
    check_resumes(Example(EXAMPLES / script, tuple(options), ranks), root, tmp_path)


def test_peers_in_tensor_parallelism_read_the_same(root: Path, tmp_path: Path) -> None:
    check_resumes(Example(EXAMPLES / "train_fsdp.py", ("2",), 4), root, tmp_path)
