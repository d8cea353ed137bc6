"""DistributedDataParallel, killed twice and resumed: the losses of a run that was not killed, to the last digit."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from shardwright import Field, ShardWriter
from tests.support.processes import list_children, wait_until_gone

pytestmark = [pytest.mark.slow, pytest.mark.sweep]

CHECKOUT = Path(__file__).parents[2]
SAMPLES = 1200


def train(root: Path, checkpoint: Path, ranks: int, kill_after: int = 0) -> dict[int, str]:
    """Return the loss by step; the processes are killed when so many were printed, and may be some steps further."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "OMP_NUM_THREADS": "1"}
    losses: dict[int, str] = {}
    with subprocess.Popen(
        [*torchrun, str(CHECKOUT / "examples" / "resume_ddp.py"), str(root), str(checkpoint)],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        assert run.stdout is not None
        pids = list[int]()
        for line in run.stdout:
            match = re.match(r"step (\d+) of \d+: loss (\S+)", line)
            assert match, line
            losses[int(match[1])] = match[2]
            if kill_after and not pids:
                pids = [run.pid, *list_children(run.pid)]  # torchrun gives its workers sessions of their own
            if len(losses) == kill_after:
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
        wait_until_gone(pids)
    assert run.returncode == (-signal.SIGKILL if kill_after else 0)
    return losses


@pytest.mark.skipif(sys.platform != "linux", reason="looks at processes in /proc")
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_killed_twice_and_resumed(tmp_path: Path, ranks: int) -> None:
    fields = {"image": Field("uint8", (4, 4, 3)), "label": Field("int64", ())}
    rng = np.random.default_rng(0)
    with ShardWriter(tmp_path / "set", "train", fields, 40) as writer:
        for n in range(SAMPLES):
            writer.write(f"sample-{n}", {"image": rng.integers(0, 256, (4, 4, 3), np.uint8), "label": n % 10})
    whole = train(tmp_path / "set", tmp_path / "whole.pt", ranks)
    assert len(whole) == 2 * -(-SAMPLES // (16 * ranks))
    seen: dict[int, str] = {}
    for kill_after in (4, 4, 0):
        part = train(tmp_path / "set", tmp_path / "killed.pt", ranks, kill_after)
        assert all(whole[step] == loss for step, loss in part.items())
        assert min(part) <= max(seen, default=0) + 1
        seen |= part
    assert seen == whole
