"""Run training code in several processes as torchrun does, forked from one that has imported what it needs.

Sixty runs of an example, each of which imports a trainer in up to four processes, would take half an hour on 2 cores.
"""

import faulthandler
import io
import multiprocessing
import os
import re
import runpy
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.support.waiting import PATIENCE, wait_for

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(["tests.support.imported_trainers"])
STEP = re.compile(r"^step (\d+) of \d+: loss (\S+)$", re.MULTILINE)

PACE = 0.05
"""Seconds a line."""


@dataclass(frozen=True)
class Example:
    """Training code that prints `step N of M: loss L`, and resumes from what it saved in a folder.

    Attributes:
        script: of `examples/`.
        options: its arguments after the shards and the folder.
        ranks: processes that run it.
    """

    script: Path
    options: tuple[str, ...]
    ranks: int

    def run(self, root: Path, saved: Path, kill_after: int = 0) -> dict[int, str]:
        """Return the loss by step; all processes are killed when so many are printed, and may be some steps further.

        Raises:
            AssertionError: a process failed; the message has what it wrote.
        """
        from torch.distributed import TCPStore  # type: ignore[attr-defined]  # as its documentation does

        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # where processes find each other
        outputs = [saved.with_name(f"{saved.name}-{rank}.txt") for rank in range(self.ranks)]
        for output in outputs:
            output.write_text("")
        arguments = [str(self.script), str(root), str(saved), *self.options]
        processes = [
            FORKS.Process(target=run_rank, args=(arguments, rank, self.ranks, store.port, output, kill_after > 0))
            for rank, output in enumerate(outputs)
        ]
        for process in processes:
            process.start()
        try:
            wait_for(lambda: has_ended(processes) or 0 < kill_after <= len(read_losses(outputs[0])))
            ended = has_ended(processes)
        finally:
            for process in processes:
                process.kill()  # SIGKILL
            for process in processes:
                process.join()
        wrote = "\n".join(output.read_text() for output in outputs)
        assert ended == (kill_after == 0), wrote
        assert kill_after or not any(process.exitcode for process in processes), wrote
        return read_losses(outputs[0])


def has_ended(processes: Sequence[BaseProcess]) -> bool:
    """Return whether a process has failed, or all have ended."""
    return any(process.exitcode for process in processes) or not any(process.is_alive() for process in processes)


def read_losses(output: Path) -> dict[int, str]:
    """Return what was printed: the loss by step."""
    return {int(step): loss for step, loss in STEP.findall(output.read_text())}


class PacedOutput(io.TextIOWrapper):
    """A text file that takes its time for each line, so that a step takes longer than it takes to be killed."""

    def flush(self) -> None:
        super().flush()
        time.sleep(PACE)


def run_rank(arguments: list[str], rank: int, ranks: int, port: int, output: Path, paced: bool) -> None:
    """Run a script as one process of several, with the environment that torchrun gives it."""
    import torch

    with output.open("a") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    if paced:
        sys.stdout = PacedOutput(sys.stdout.buffer)
    sizes = {name: str(ranks) for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE")}
    numbers = {name: str(rank) for name in ("RANK", "LOCAL_RANK")}
    agent = {"TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "0"}
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GROUP_RANK": "0"}
    os.environ.update(sizes | numbers | agent | place)
    torch.set_num_threads(1)
    faulthandler.dump_traceback_later(PATIENCE / 2)  # where it stands still, if it does
    sys.argv = arguments
    runpy.run_path(arguments[0], run_name="__main__")
