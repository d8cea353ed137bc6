"""Run one stage: check params, take the lock, work in a folder of its own, and publish the outputs if all went well.

DVC removes a stage's outputs before it runs the stage, so the work is done outside them, in the cache folder.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

from pipeline.config.check_params import check_all_blocks, check_block, read_params
from pipeline.config.params import Block, RunParams
from pipeline.errors import PipelineError, RunningElsewhere
from pipeline.incremental.arrays_folder import VARIABLE
from pipeline.runtime.progress import say_line
from pipeline.runtime.sandbox.parent_death import end_with_parent
from pipeline.runtime.stopwatch import format_times, take_times
from pipeline.tables.contracts import PRIVATE_FOLDERS
from pipeline.tables.drops import Outcome
from shardwright.cli.terminal import escape_controls

ARRAY_BYTES = 1 << 20
"""From this size on, a block of memory is mapped by itself. glibc begins at 128 kB, and raises that to the largest
block that was ever freed: arrays then lie between other things, and stay. Planning 100,000 samples kept 117 MB that
way, and 88 MB this way."""

PRIVATE_FOLDER = 0o700
"""Mode of a new cache and of folders that have data as they came in."""

M_MMAP_THRESHOLD = -3
"""The parameter of mallopt(3)."""

DVC_VARIABLE = "DVC_STAGE"
"""Set by DVC for the stages that it runs. A killed `dvc repro` leaves its stage running, unseen and with the lock; a
stage that a person started by hand in a shell may outlive that shell."""


@dataclass(frozen=True)
class Workspace:
    """The folders of a step.

    Attributes:
        data: outputs of the stages before it.
        work: new and empty; what the step leaves in `work/<folder>` becomes `data/<folder>`.
        cache: outlives the run.
        run: how to run.
    """

    data: Path
    work: Path
    cache: Path
    run: RunParams


@dataclass(frozen=True)
class Stage:
    """The params file's blocks and a workspace, given to an entry point."""

    blocks: dict[str, Any]
    workspace: Workspace

    def read_block(self, name: str, block_type: type[Block]) -> Block:
        """Return a typed block of `params.yaml`. Only ask for blocks that `dvc.yaml` tracks for this stage."""
        return check_block(self.blocks, name, block_type)


def run_stage(
    name: str,
    outs: Sequence[str],
    step: Callable[[Stage], Outcome],
    clean_up: Callable[[Workspace], object] = lambda workspace: None,
) -> int:
    """Run `step` in the current folder, publish `outs` under `data/`, print its summary; return the exit status.

    `clean_up` removes what the step kept in the cache to go on from, had it been stopped before its outputs were there.

    0: done. 1: failed, with one message on stderr. 130 or 143: interrupted by SIGINT or SIGTERM. An exception that is
    neither a `PipelineError` nor an error of the disk is a fault of this project, and keeps its traceback.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    use_own_maps_for_arrays()
    if os.environ.get(DVC_VARIABLE):
        end_with_parent(signal.SIGTERM)
    try:
        blocks = read_params(Path("params.yaml"))
        check_all_blocks(blocks)
        run = check_block(blocks, "run", RunParams)
        with explain_disk_errors(Path(run.cache)), open_workspace(name, Path("data"), run) as workspace:
            summary = _run_step(name, outs, step, Stage(blocks, workspace))
            clean_up(workspace)
    except PipelineError as error:
        return _report_end(name, str(error), 1)
    except KeyboardInterrupt:
        terminated = signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
        word, status = ("terminated", 143) if terminated else ("interrupted", 130)
        return _report_end(name, f"{word}; `dvc repro` continues after the last finished stage", status)
    sys.stdout.write(_escape_lines(summary) + "\n")
    return 0


def _run_step(name: str, outs: Sequence[str], step: Callable[[Stage], Outcome], stage: Stage) -> str:
    """Run the step, publish its outputs and return its summary."""
    start = time.monotonic()
    take_times()  # drop those of earlier work in this process
    rows = stage.workspace.cache / "dropped" / stage.workspace.work.name
    _remove_folder(rows)
    try:
        outcome = step(stage)
    except PipelineError as error:
        if _save_dropped(stage.workspace, outs, rows):
            raise PipelineError(f"{error}. The rows dropped so far are in {rows}") from error
        raise
    outcome.check()
    publish(stage.workspace, outs)
    times = take_times()
    if times:
        outcome = replace(outcome, notes=[*outcome.notes, format_times(times)])
    return format_summary(name, outcome, time.monotonic() - start)


def _save_dropped(workspace: Workspace, outs: Sequence[str], rows: Path) -> bool:
    """Save a failed run's table `dropped` from its work folder for the user; return whether there was one."""
    for out in outs:
        written = workspace.work / out / "dropped"
        if written.is_dir():
            rows.parent.mkdir(parents=True, exist_ok=True)
            written.rename(rows)
            return True
    return False


def _report_end(name: str, message: str, status: int) -> int:
    say_line(f"{name}: {_escape_lines(message)}")
    return status


def _escape_lines(text: str) -> str:
    """Escape control characters: a label, file name or column name must not move the cursor or fake a line."""
    return "\n".join(escape_controls(line) for line in text.split("\n"))


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Let SIGTERM do what Ctrl-C does: asyncio, and code that starts processes, can defer that."""
    signal.signal(number, signal.SIG_IGN)  # the kernel sends it once for each thread of a parent that dies
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as in a script's background job
        raise KeyboardInterrupt
    signal.raise_signal(signal.SIGINT)


def use_own_maps_for_arrays() -> None:
    """Have freed arrays and tables of this process returned to the system, if the C library can; to be called before
    Arrow is imported, whose own pool keeps much."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    if sys.platform == "linux":
        with suppress(AttributeError):  # not glibc
            ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, ARRAY_BYTES)


FREE_SPACE = "free some space there, or let run.cache name a folder on a larger disk"
PERMISSION = "give this user the right to write there"

ADVICE = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "the file system, or `ulimit -f`, allows no larger files",
    errno.EROFS: "it is mounted read-only",
    errno.EACCES: PERMISSION,
    errno.EPERM: PERMISSION,
    errno.EIO: "the disk does not work as it should",
}
"""What the user can do about an error of the disk. Any other `OSError` is a fault of this project."""


@contextmanager
def explain_disk_errors(folder: Path) -> Iterator[None]:
    """Turn errors of the disk into one message.

    Args:
        folder: named if the error itself names no file, as errors of writing to an open one.

    Raises:
        PipelineError: the message has the path, the system's text for the error, and what to do.
    """
    try:
        yield
    except (OSError, PipelineError, ExceptionGroup) as error:
        disk_error = _find_disk_error(error)
        if disk_error is None:
            raise
        path = disk_error.filename2 or disk_error.filename or folder
        number = disk_error.errno or 0
        raise PipelineError(f"{path}: {os.strerror(number)}; {ADVICE[number]}, then run it again") from error


def _find_disk_error(error: BaseException) -> OSError | None:
    """Return the disk's own error: this one, the first of several tasks that failed together, or a worker's cause."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    cause: BaseException | None = error
    while isinstance(cause, PipelineError):
        cause = cause.__cause__
    return cause if isinstance(cause, OSError) and cause.errno in ADVICE else None


@contextmanager
def open_workspace(name: str, data: Path, run: RunParams) -> Iterator[Workspace]:
    """Yield a locked workspace for the stage `name`; its work folder is removed at the end in any case.

    Raises:
        RunningElsewhere: another live process runs a stage on the same data folder; the message has its pid.
    """
    data.mkdir(parents=True, exist_ok=True)
    cache = Path(run.cache)
    checkout = hashlib.sha256(str(data.resolve()).encode()).hexdigest()[:12]  # several checkouts may share a cache
    work = cache / "work" / f"{checkout}-{name}"
    with _hold_lock(data / ".lock"):
        _remove_folder(work)  # left by a run that was killed
        cache.mkdir(PRIVATE_FOLDER, parents=True, exist_ok=True)
        work.mkdir(parents=True)
        try:
            with _name_folders({"NUMBA_CACHE_DIR": cache / "numba", VARIABLE: cache / "arrays"}):
                yield Workspace(data, work, cache, run)
        finally:
            shutil.rmtree(work, ignore_errors=True)


@contextmanager
def _name_folders(folders: Mapping[str, Path]) -> Iterator[None]:
    """Have the processes that are started meanwhile find folders by environment variables; those that are set stay.

    numba keeps there what it compiles for librosa: that takes seconds, and the folders of installed packages may be
    read-only. It reads its variable when it is imported.
    """
    added = {name: str(folder.resolve()) for name, folder in folders.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


@contextmanager
def _hold_lock(path: Path) -> Iterator[None]:
    """Hold an advisory lock, which the kernel releases when its holder dies: there are no stale locks."""
    with path.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise RunningElsewhere(
                f"{path.parent} is in use by process {file.read().strip()}: wait for it to end"
            ) from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield


def publish(workspace: Workspace, outs: Sequence[str]) -> None:
    """Rename the folders `outs` to their final names: no folder under such a name is ever incomplete.

    Copies, which may run out of space, are made first, for all of them.
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
        if final.name in PRIVATE_FOLDERS:
            _name_new(final).chmod(PRIVATE_FOLDER)
        old = final.with_name(f".{final.name}.old")
        _remove_folder(old)
        if final.exists():
            final.rename(old)
        _name_new(final).rename(final)
        _remove_folder(old)


def _name_new(final: Path) -> Path:
    return final.with_name(f".{final.name}.new")


def _move_folder(source: Path, target: Path) -> None:
    """Rename a folder, or copy it if the cache is on another file system. Found out by trying: two mounts of one disk
    have one device number, and cannot be renamed across either."""
    _remove_folder(target)
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_folder(source, target)


def _copy_folder(source: Path, target: Path) -> None:
    target.mkdir()
    for path in source.iterdir():
        if path.is_dir():
            _copy_folder(path, target / path.name)
        else:
            shutil.copyfile(path, target / path.name)


def _remove_folder(path: Path) -> None:
    """Remove a folder and its contents, if there is one."""
    if path.exists():
        shutil.rmtree(path)


def format_summary(name: str, outcome: Outcome, seconds: float) -> str:
    """Return `clean    in 1234 = kept 1180 + dropped 54: 31 flat, 23 broken; 12.3 s, 100 items/s`, then the notes.

    The rate is of the units that were worked on, see `Outcome.worked`.
    """
    reasons = f": {outcome.dropped.describe()}" if outcome.dropped.total else ""
    worked = outcome.seen if outcome.worked is None else outcome.worked
    rate = f"{worked / max(seconds, 1e-9):,.0f} {outcome.unit}s/s"
    counts = f"in {outcome.seen} = kept {outcome.kept} + dropped {outcome.dropped.total}{reasons}"
    line = f"{name:<9}{counts}; {seconds:.1f} s, {rate}"
    return "\n".join([line, *(" " * 9 + note.replace("\n", "\\n") for note in outcome.notes)])
