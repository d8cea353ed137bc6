"""Bring the stages up to date as `dvc repro` does, with DVC as a library: its rules, its `dvc.lock`, its run cache.

A folder need not be a git repository. Stages run in processes of their own.
"""

import gc
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.codegen.dvc_yaml import find_missing_keys
from pipeline.config.check_params import read_params
from pipeline.config.choose_params import PARAMS, choose_params
from pipeline.errors import PipelineError
from pipeline.runtime.lock_entry import write_entry


class BuildError(PipelineError):
    """A stage failed, or DVC cannot run the stages."""


class BuildInterrupted(BuildError):  # noqa: N818 - the name says what happened
    """A stage was interrupted by SIGINT or SIGTERM."""


INTERRUPTED = re.compile(r"exited with (?:130|143)$")
"""What DVC says of a stage that ended with the status of `run_stage` after SIGINT or SIGTERM: it keeps no number."""


def build(stages: Sequence[str] = (), *, force: bool = False, dry: bool = False, cache: bool = True) -> list[str]:
    """Run what is not up to date of these stages and those before them, by default of all, in the current folder.

    What the stages print goes to stdout and stderr. Keys that `dvc.yaml` watches and `params.yaml` lacks are added.

    Args:
        stages: names from `dvc.yaml`.
        force: run them also if they are up to date.
        dry: run nothing.
        cache: store outputs in DVC's cache, as `dvc repro` does, so that going back to earlier params runs nothing.

    Returns:
        The names of the stages that ran, or whose outputs came from DVC's cache; if `dry`, of those that would as
        things stand: others may follow once their inputs have changed.

    Raises:
        ParamsError: `params.yaml` is missing or no YAML: nothing ran. The first stage checks values before it works.
        BuildError: a stage failed, whose own message is on stderr, or DVC refused; the message has its words.
    """
    if find_missing_keys(read_params(PARAMS)):
        choose_params(None, None, force=False)
    from dvc.exceptions import DvcException, PrettyDvcException

    current = ""

    def reproduce(stage: Any, **options: Any) -> Any:
        nonlocal current
        current = stage.addressing
        missing = [str(dependency) for dependency in stage.deps if not dependency.exists]
        if missing and dry:
            return stage
        if missing:
            raise BuildError(f"the stage {current} reads {', '.join(missing)}, which is missing")
        if not cache:
            for out in stage.outs:
                out.use_cache = False
        done = stage.reproduce(**options)
        if done and not dry:
            write_entry(stage)
        return done

    try:
        with _quiet_dvc(), _own_python_first(), _pause_collection(), open_repository(Path.cwd()) as repository:
            done = repository.reproduce(list(stages), force=force, dry=dry, repro_fn=reproduce)
    except DvcException as error:
        if isinstance(error, PrettyDvcException):
            error.__pretty_exc__()
        raise _convert_error(error, current) from error
    return [stage.addressing for stage in done]


def _convert_error(error: BaseException, stage: str) -> BuildError:
    """Return what to tell the user of DVC's error, which was raised in `stage`, or before any if that is empty."""
    from dvc.lock import LockError
    from dvc.stage.exceptions import StageCmdFailedError

    chain = []
    cause: BaseException | None = error
    while cause is not None:
        chain.append(cause)
        cause = cause.__cause__
    if isinstance(chain[-1], BuildError):
        return chain[-1]
    failed = next((cause for cause in chain if isinstance(cause, StageCmdFailedError)), None)
    if failed is not None and INTERRUPTED.search(str(failed)):
        return BuildInterrupted(f"the stage {stage} was interrupted; what was finished before it is kept")
    if failed is not None:
        return BuildError(f"the stage {stage} failed, see its message above; what was finished before it is kept")
    if any(isinstance(cause, LockError) for cause in chain):
        return BuildError("another DVC process works in this folder: wait for it to end")
    return BuildError("DVC: " + ": ".join(str(cause) for cause in chain))


@contextmanager
def open_repository(folder: Path) -> Iterator[Any]:
    """Yield DVC's view of a folder, which may be no git repository, or say by `core.no_scm` that it uses none."""
    from dvc.config import Config
    from dvc.repo import Repo
    from dvc.scm import SCM, SCMError

    alone = Config(dvc_dir=str(folder / Repo.DVC_DIR))["core"].get("no_scm", False)
    try:
        source_control = SCM(str(folder), no_scm=alone)
    except SCMError:
        source_control = SCM(str(folder), no_scm=True)
    with Repo(str(folder), scm=source_control) as repository:
        repository.stage.collect = _find_loaded(repository)
        yield repository


def _find_loaded(repository: Any) -> Callable[..., list[Any]]:
    """Return what finds stages among those that DVC has loaded: by itself it parses `dvc.yaml` and `dvc.lock` once more
    for the names that it is given, 0.3 s of CPU."""
    from dvc.dvcfile import PROJECT_FILE

    collect = repository.stage.collect

    def find(target: str | None = None, **options: Any) -> list[Any]:
        loaded = [stage for stage in repository.index.stages if target in (stage.addressing, PROJECT_FILE)]
        return loaded or list(collect(target, **options))

    return find


@contextmanager
def _quiet_dvc() -> Iterator[None]:
    """Have DVC say nothing of what it does, as the stages' own lines say it, but pass on its warnings."""
    logger = logging.getLogger("dvc")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


@contextmanager
def _own_python_first() -> Iterator[None]:
    """Have `python` in the stages' commands be this one: its environment need not be activated."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


@contextmanager
def _pause_collection() -> Iterator[None]:
    """Have Python not look for cycles: of the objects that DVC makes of `dvc.yaml` and `dvc.lock` few go before
    the end, and looking at all of them again and again is a sixth of its time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
