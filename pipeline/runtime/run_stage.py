"""Runs one stage: its params, its lock, a work folder, and its outputs under their final names only when it ended well.

DVC removes a stage's outputs before it runs it, so work goes on outside them, in the cache folder.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.config.check_params import check_all_blocks, check_block, read_params
from pipeline.config.params import Block, RunParams
from pipeline.errors import PipelineError, RunningElsewhere
from pipeline.runtime.disk_errors import explain_disk_errors
from pipeline.runtime.sandbox.parent_death import end_with_parent
from pipeline.runtime.stopwatch import format_times, take_times
from pipeline.tables.drops import Outcome
from shardwright.cli.terminal import escape_controls

ARRAY_BYTES = 1 << 20
"""From this size on a block of memory is the system's own. glibc begins at 128 kB, and raises it to the largest block
that was ever freed: arrays then lie between other things, and stay. Planning 100,000 samples kept 117 MB so, and 88."""

M_MMAP_THRESHOLD = -3
"""The parameter of mallopt(3)."""


def give_arrays_back() -> None:
    """Have arrays and tables of this process go back to the system when they are freed, where the C library can; to be
    called before Arrow is imported, whose own pool keeps much."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        with suppress(AttributeError):  # not glibc
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, ARRAY_BYTES)


DVC_VARIABLE = "DVC_STAGE"
"""Which DVC sets for what it runs. A `dvc repro` that is killed leaves its stage running, unseen and with the lock; a
stage that a person started by hand in a shell may outlive that shell."""


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

    0 done; 1 it could not be done, one message says why; 130 or 143 it was interrupted or told to end. What is no
    `PipelineError` and not the disk's is a fault of ours, and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    give_arrays_back()
    if os.environ.get(DVC_VARIABLE):
        end_with_parent(signal.SIGTERM)
    try:
        blocks = read_params(Path("params.yaml"))
        check_all_blocks(blocks)
        run = check_block(blocks, "run", RunParams)
        with explain_disk_errors(Path(run.cache)), open_workspace(name, Path("data"), run) as workspace:
            summary = _run_step(name, outs, step, Stage(blocks, workspace))
    except PipelineError as error:
        return _say_end(name, str(error), 1)
    except KeyboardInterrupt:
        told = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        said = "told to end" if told else "interrupted"
        return _say_end(name, f"{said}; `dvc repro` goes on from the last finished stage", 143 if told else 130)
    sys.stdout.write(_escape_lines(summary) + "\n")
    return 0


def _run_step(name: str, outs: Sequence[str], step: Callable[[Stage], Outcome], stage: Stage) -> str:
    """The summary of a step that ended well and is published."""
    start = time.monotonic()
    take_times()  # of what ran before in this process
    rows = stage.workspace.cache / "dropped" / f"{stage.workspace.work.name}.parquet"
    rows.unlink(missing_ok=True)
    try:
        outcome = step(stage)
    except PipelineError as error:
        if _keep_dropped(stage.workspace, outs, rows):
            raise PipelineError(f"{error}. What was dropped so far is in {rows}") from error
        raise
    outcome.check()
    publish(stage.workspace, outs)
    times = take_times()
    if times:
        outcome = replace(outcome, notes=[*outcome.notes, format_times(times)])
    return format_summary(name, outcome, time.monotonic() - start)


def _keep_dropped(workspace: Workspace, outs: Sequence[str], rows: Path) -> bool:
    """Save a failed run's `dropped.parquet` from its work folder, for the user to look at; says if there was one."""
    for out in outs:
        made = workspace.work / out / "dropped.parquet"
        if made.is_file():
            rows.parent.mkdir(parents=True, exist_ok=True)
            made.replace(rows)
            return True
    return False


def _say_end(name: str, message: str, status: int) -> int:
    erase = "\r\x1b[K" if sys.stderr.isatty() else ""  # a progress bar is still there
    sys.stderr.write(f"{erase}{name}: {_escape_lines(message)}\n")
    return status


def _escape_lines(text: str) -> str:
    """Labels, file names and column names are other people's: none may move the cursor or fake a line."""
    return "\n".join(escape_controls(line) for line in text.split("\n"))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM do what Ctrl-C does: asyncio, and whoever starts processes, know how to put that off."""
    signal.signal(number, signal.SIG_IGN)  # the kernel sends it once for each thread of a parent that dies
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a script's background job
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


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
        _remove_folder(work)  # of a run that was killed
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


def publish(workspace: Workspace, outs: Sequence[str]) -> None:
    """Put the finished folders `outs` under their final names; at no time is there a half one under such a name.

    What may fail for want of space comes first, for all of them.
    """
    finals = [workspace.data / out for out in outs]
    try:
        for final in finals:
            _move_folder(workspace.work / final.name, _name_new(final))
    except BaseException:
        for final in finals:
            shutil.rmtree(_name_new(final), ignore_errors=True)
        raise
    for final in finals:
        old = final.with_name(f".{final.name}.old")
        _remove_folder(old)
        if final.exists():
            final.rename(old)
        _name_new(final).rename(final)
        _remove_folder(old)


def _name_new(final: Path) -> Path:
    return final.with_name(f".{final.name}.new")


def _move_folder(made: Path, place: Path) -> None:
    """Rename `made`, or copy it where the cache is on another file system. That is asked for by trying: two mounts of
    one disk have one device number, and cannot be renamed across either."""
    _remove_folder(place)
    try:
        made.rename(place)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_folder(made, place)


def _copy_folder(folder: Path, place: Path) -> None:
    place.mkdir()
    for path in folder.iterdir():
        if path.is_dir():
            _copy_folder(path, place / path.name)
        else:
            shutil.copyfile(path, place / path.name)


def _remove_folder(path: Path) -> None:
    """Remove a folder, if it is there, with all that is in it."""
    if path.exists():
        shutil.rmtree(path)


def format_summary(name: str, outcome: Outcome, seconds: float) -> str:
    """Return `clean    in 1234 = kept 1180 + dropped 54: 31 flat, 23 broken; 12.3 s, 100 items/s`, then the notes.

    The rate is of the units that were worked on, see `Outcome.worked`.
    """
    reasons = f": {outcome.count_reasons()}" if outcome.dropped else ""
    worked = outcome.seen if outcome.worked is None else outcome.worked
    rate = f"{worked / max(seconds, 1e-9):,.0f} {outcome.unit}s/s"
    counts = f"in {outcome.seen} = kept {outcome.kept} + dropped {len(outcome.dropped)}{reasons}"
    line = f"{name:<9}{counts}; {seconds:.1f} s, {rate}"
    return "\n".join([line, *(" " * 9 + note.replace("\n", "\\n") for note in outcome.notes)])
