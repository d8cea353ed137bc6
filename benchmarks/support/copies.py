"""Copies of the checkout, each with a corpus and params of its own, in which stages and `dvc repro` run."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.config.check_params import read_effective_params

CHECKOUT = Path(__file__).parents[2]
BEFORE_EXTRACT = ("list", "crawl", "ingest", "clean", "align")

Changes = Mapping[str, Mapping[str, Any]]
"""Values of `params.yaml` by block."""


@dataclass(frozen=True)
class Run:
    """A command that ended well: its wall time, the seconds of each stage by its summary, and what it said."""

    wall: float
    seconds: Mapping[str, float]
    said: str

    def read_counts(self, what: str) -> tuple[int, int]:
        """How many `features` or `checks` were reused, and how many computed."""
        found = re.search(rf"{what}: ([\d,]+) (?:kept|reused), ([\d,]+) computed", self.said)
        if found is None:
            return 0, 0
        kept, computed = (int(number.replace(",", "")) for number in found.groups())
        return kept, computed


@dataclass(frozen=True)
class Copy:
    """A copy of the checkout in a folder."""

    folder: Path

    def make(self, changes: Changes) -> None:
        """Copy the code and write the params."""
        ignored = shutil.ignore_patterns(".*", "data", "__pycache__", "*.egg-info")
        shutil.copytree(CHECKOUT, self.folder, ignore=ignored, symlinks=True)
        shutil.copytree(CHECKOUT / ".dvc", self.folder / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
        shutil.copy(CHECKOUT / ".dvcignore", self.folder)
        (self.folder / ".gitignore").write_text("/data/\n.cache/\n__pycache__/\n")
        (self.folder / "dvc.lock").unlink(missing_ok=True)
        subprocess.run(["git", "init", "-q"], cwd=self.folder, check=True)
        self.write_params(changes)

    def write_params(self, changes: Changes) -> None:
        """The params of the checkout with `changes`; a block within a block is changed value by value."""
        blocks = read_effective_params(CHECKOUT / "params.yaml")
        for name, values in changes.items():
            for key, value in values.items():
                old = blocks[name].get(key)
                merge = isinstance(old, dict) and isinstance(value, Mapping)
                blocks[name][key] = {**old, **value} if merge else value
        (self.folder / "params.yaml").write_text(yaml.safe_dump(blocks, sort_keys=False))

    def run_stages(self, *names: str) -> Run:
        """Run stages one after another, as DVC would."""
        runs = [self.run(sys.executable, "-m", f"stages.{name}") for name in names]
        seconds = {name: value for run in runs for name, value in run.seconds.items()}
        return Run(sum(run.wall for run in runs), seconds, "".join(run.said for run in runs))

    def reproduce(self) -> Run:
        """`dvc repro extract`."""
        return self.run("dvc", "repro", "extract")

    def run(self, *command: str) -> Run:
        """Run a command here.

        Raises:
            SystemExit: it failed; with what it said.
        """
        environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        start = time.monotonic()
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        wall = time.monotonic() - start
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        found = re.findall(r"^(\w+) +in \d+ = .*?; ([\d.]+) s, ", done.stdout, re.M | re.S)
        return Run(wall, {name: float(seconds) for name, seconds in found}, done.stdout)

    def hash_shards(self) -> str:
        """One hash of all that extract wrote."""
        digest = hashlib.sha256()
        for path in sorted((self.folder / "data").glob("5_*/**/*")):
            if path.is_file():
                digest.update(str(path.relative_to(self.folder)).encode() + path.read_bytes())
        return digest.hexdigest()
