"""Copy this project into folders of their own, and run its stages there as DVC does."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from pipeline.codegen.dvc_yaml import NODES
from pipeline.incremental.module_sources import PACKAGES
from tests.support.running import DEMO_THINGS, ROOT, edit_params, hash_files

UP_TO_EXTRACT = tuple(node.name for node in NODES[:6])


@dataclass(frozen=True)
class Surroundings:
    """Where and how stages run. None of it may matter."""

    folder: str = "checkout"
    workers: int = 0
    umask: int = 0o022
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkout:
    """A copy of the code with params of its own, and the surroundings in which its stages run."""

    folder: Path
    surroundings: Surroundings

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def start_stage(self, name: str) -> "subprocess.Popen[str]":
        """`python -m stages.<name>` in a session of its own, with its temporary files in `tmp` beside the outputs."""
        (self.folder / "tmp").mkdir(exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-m", f"stages.{name}"],
            cwd=self.folder,
            env={**os.environ, **self.surroundings.environment, "TMPDIR": str(self.folder / "tmp")},
            umask=self.surroundings.umask,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run_stage(self, name: str) -> str:
        """Run a stage that must succeed and print its summary alone; return the summary."""
        with self.start_stage(name) as process:
            summary, errors = process.communicate(timeout=600)
        assert (process.returncode, errors) == (0, ""), f"{name}: {process.returncode}, {errors}"
        return summary

    def hash_outputs(self) -> dict[str, str]:
        """Return the sha256 of all files under `data/` except the lock, which holds the number of a process."""
        return {path: digest for path, digest in hash_files(self.data).items() if path != ".lock"}


def make_checkout(parent: Path, surroundings: Surroundings | None = None, **changes: Any) -> Checkout:
    """A copy of the code below `parent`, without outputs, with the demo of 60 things and `changes` in its params.

    One image of the demo answers after the time limit, the others must not: 5 s, for busy machines.
    """
    surroundings = surroundings or Surroundings()
    folder = parent / surroundings.folder
    for name in (*PACKAGES, "demo"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("inbox", "lists"):
        (folder / name).mkdir()
        shutil.copy(ROOT / name / ".gitignore", folder / name)
    small = {DEMO_THINGS: 60, "crawl__timeout": 5.0, "crawl__backoff": 0.05, "run__workers": surroundings.workers}
    blocks = edit_params(**{**small, **changes})
    (folder / "params.yaml").write_text(yaml.safe_dump(blocks), encoding="utf-8")
    return Checkout(folder, surroundings)
