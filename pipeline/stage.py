"""Runs one stage: its params, its lock, a work folder, and its outputs under their final names only when it ended well.

DVC removes a stage's outputs before it runs it, so work goes on outside them, in the cache folder.
"""

import fcntl
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.check_params import check_all_blocks
from pipeline.errors import PipelineError, RunningElsewhere
from pipeline.params import Block, RunParams, check_block, read_params
from pipeline.records import Outcome


@dataclass(frozen=True)
class Workspace:
    """Where a step reads and writes.

    `data` holds the outputs of the stages before it; `work` is new and empty, and what the step leaves in
    `work/<folder>` becomes `data/<folder>`; `cache` outlives the run.
    """

    data: Path
    work: Path
    cache: Path
    run: RunParams


@dataclass(frozen=True)
class Stage:
    """What an entry point gets: the params file's blocks and a workspace."""

    blocks: dict[str, Any]
    workspace: Workspace

    def read_block(self, name: str, block_type: type[Block]) -> Block:
        """A typed block of `params.yaml`. Only ask for what `dvc.yaml` tracks for this stage."""
        return check_block(self.blocks, name, block_type)


def run_stage(name: str, outs: Sequence[str], step: Callable[[Stage], Outcome]) -> int:
    """Run `step` in the current folder, publish `outs` under `data/`, print its summary line; gives the exit status.

    0 done; 1 it could not be done, one message says why; 130 or 143 it was interrupted or told to end.
    """
    signal.signal(signal.SIGTERM, _raise_exit)
    try:
        blocks = read_params(Path("params.yaml"))
        check_all_blocks(blocks)
        run = check_block(blocks, "run", RunParams)
        with open_workspace(name, Path("data"), run) as workspace:
            start = time.monotonic()
            outcome = step(Stage(blocks, workspace))
            outcome.check()
            for folder in outs:
                publish(workspace.work / folder, workspace.data / folder)
            sys.stdout.write(format_summary(name, outcome, time.monotonic() - start) + "\n")
    except PipelineError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write(f"{name}: interrupted; `dvc repro` goes on from the last finished stage\n")
        return 130
    return 0


def _raise_exit(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


@contextmanager
def open_workspace(name: str, data: Path, run: RunParams) -> Iterator[Workspace]:
    """A locked workspace for the stage `name`; its work folder is removed at the end, however that comes.

    Raises:
        RunningElsewhere: another live process runs a stage on the same data folder; the message has its pid.
    """
    data.mkdir(parents=True, exist_ok=True)
    cache = Path(run.cache)
    place = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]  # several checkouts may share a cache
    work = cache / "work" / f"{place}-{name}"
    with _hold_lock(data / ".lock"):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        try:
            yield Workspace(data, work, cache, run)
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """An advisory lock: the kernel lets it go when its holder dies, so there are no stale ones."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunningElsewhere(f"process {file.read().strip()} is at work on {path.parent}: wait for it") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def publish(made: Path, final: Path) -> None:
    """Put the finished folder `made` in the place of `final`; at no time is there a half one under that name."""
    aside = final.with_name(f".{final.name}.old")
    if made.stat().st_dev != final.parent.stat().st_dev:
        near = final.with_name(f".{final.name}.new")
        shutil.rmtree(near, ignore_errors=True)
        made = shutil.copytree(made, near)
    shutil.rmtree(aside, ignore_errors=True)
    if final.exists():
        final.rename(aside)
    made.rename(final)
    shutil.rmtree(aside, ignore_errors=True)


def format_summary(name: str, outcome: Outcome, seconds: float) -> str:
    """`clean    in 1234 = kept 1180 + dropped 54: 31 flat, 23 broken; 12.3 s, 100 items/s`."""
    reasons = f": {outcome.count_reasons()}" if outcome.dropped else ""
    rate = f"{outcome.seen / max(seconds, 1e-9):,.0f} {outcome.unit}s/s"
    counts = f"in {outcome.seen} = kept {outcome.kept} + dropped {len(outcome.dropped)}{reasons}"
    line = f"{name:<9}{counts}; {seconds:.1f} s, {rate}"
    return "\n".join([line, *(" " * 9 + note for note in outcome.notes)])
