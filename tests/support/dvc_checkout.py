"""Run the demo of 60 things with DVC, once for all tests that look at what it left or at the modules that it loaded."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.codegen.dvc_yaml import NODES
from pipeline.config.choose_params import set_value
from pipeline.incremental.module_sources import PACKAGES
from tests.support.demo_run import CHANGES
from tests.support.running import ROOT, hash_files

PRIMITIVE = {
    "LC_ALL": "C",
    "PYTHONCOERCECLOCALE": "0",
    "PYTHONHASHSEED": "1",
    "PYTHONUTF8": "0",
    "TZ": "America/St_Johns",
}
"""The environment in which it runs, on one worker and with a umask of 002."""

RECORD_IMPORTS = """
import os, sys

class Recorder:
    # Python asks it first for every module, imported by a statement or by `import_module`; it finds none.
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {packages}:
            handle = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            os.write(handle, f"{{os.getpid()}} {{name}}\\n".encode())
            os.close(handle)

sys.meta_path.insert(0, Recorder)
"""
"""Becomes `sitecustomize.py`, which Python runs at its start: in a stage, in its fork server, and in their forks."""


@dataclass(frozen=True)
class DvcCheckout:
    """A copy of the tracked files, in which `dvc repro` has run.

    Attributes:
        folder: the copy; who changes it puts it back.
        hashes: the sha256 of every file of the outputs by its path in `data/`.
        loaded: the modules of this project that each stage loaded, by stage and process.
    """

    folder: Path
    hashes: Mapping[str, str]
    loaded: Mapping[str, Mapping[int, set[str]]]

    def run(
        self, *command: str, text: str | None = None, fails: bool = False, environment: Mapping[str, str] | None = None
    ) -> str:
        """Run a command in the copy with `text` as its input; return all that it prints."""
        return run_command(self.folder, command, text, fails, environment or {})


def run_command(
    folder: Path,
    command: Iterable[str],
    text: str | None = None,
    fails: bool = False,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a command that ends with or without success; return all that it prints."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        list(command),
        cwd=folder,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **(environment or {})},
        umask=0o002,
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def change_param(folder: Path, path: Iterable[str], value: Any) -> None:
    """Set a value in `params.yaml`, whether it spells the key or not."""
    params = folder / "params.yaml"
    params.write_text(set_value(params.read_text(), list(path), value))


def run_demo(parent: Path) -> DvcCheckout:
    """Copy the tracked files below `parent` and run `dvc repro` there."""
    folder, hook, log = parent / "a checkout", parent / "hook", parent / "imports"
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    (folder / "dvc.lock").unlink(missing_ok=True)
    for key, value in {**CHANGES, "train__epochs": 2, "run__workers": 1}.items():
        change_param(folder, key.split("__"), value)
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(RECORD_IMPORTS.format(packages=PACKAGES, log=str(log)), encoding="utf-8")
    run_command(folder, ["git", "init", "-q"])
    run_command(folder, ["dvc", "repro", "--quiet"], environment={**PRIMITIVE, "PYTHONPATH": str(hook)})
    hashes = {path: digest for path, digest in hash_files(folder / "data").items() if path[0].isdigit()}
    return DvcCheckout(folder, hashes, _read_imports(log))


def _read_imports(log: Path) -> dict[str, dict[int, set[str]]]:
    """Return the modules by stage and process: stages run one after the other, and load their entry point first."""
    processes: dict[int, set[str]] = {}
    for line in log.read_text(encoding="utf-8").splitlines():
        number, name = line.split()
        processes.setdefault(int(number), set()).add(name)
    stages: dict[str, dict[int, set[str]]] = {}
    current = ""
    for pid, names in processes.items():
        current = next((node.name for node in NODES if f"stages.{node.name}" in names), current)
        stages.setdefault(current, {})[pid] = names
    return stages
