"""DVC runs the whole, knows when all is up to date, and runs again exactly what a changed value touches."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.codegen.dvc_yaml import NODES

ROOT = Path(__file__).parents[2]

CHANGES = {
    "crawl.hosts": ("seed: 7", "seed: 8", {"crawl"}),
    "crawl": ("max_depth: 8", "max_depth: 9", {"crawl"}),
    "ingest": ("text: whole", "text: lines", {"ingest"}),
    "clean": ("max_channels: 8", "max_channels: 7", {"clean"}),
    "align": ("min_samples: 1", "min_samples: 2", {"align"}),
    "extract": ("min_count: 2", "min_count: 3", {"extract"}),
    "train": ("fusion: attention", "fusion: mean", {"train"}),
    "evaluate": ("worst: 12", "worst: 11", {"evaluate"}),
    "run": ("workers: 2", "workers: 1", set()),
}
"""For each block a line of params.yaml, another value, and the stages that use it directly."""


def run(checkout: Path, *command: str) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, with the small demo, run once."""
    folder = tmp_path_factory.mktemp("a checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    params = (folder / "params.yaml").read_text()
    for old, new in [("things: 600", "things: 60"), ("timeout: 10.0", "timeout: 5.0"), ("epochs: ", "epochs: 2 #")]:
        assert old in params
        params = params.replace(old, new)
    (folder / "params.yaml").write_text(params)
    run(folder, "git", "init", "-q")
    (folder / "dvc.lock").unlink(missing_ok=True)
    run(folder, "dvc", "repro", "--quiet")
    return folder


def find_changed(checkout: Path) -> set[str]:
    return set(json.loads(run(checkout, "dvc", "status", "--json")))


def test_all_is_up_to_date_after_a_run(checkout: Path) -> None:
    assert find_changed(checkout) == set()
    again = run(checkout, "dvc", "repro")
    assert "Running stage" not in again
    assert all(f"'{node.name}' didn't change" in again for node in NODES)


@pytest.mark.parametrize("block", CHANGES)
def test_a_changed_value_touches_the_stages_that_use_it(checkout: Path, block: str) -> None:
    old, new, stages = CHANGES[block]
    before = (checkout / "params.yaml").read_text()
    assert before.count(old) == 1
    try:
        (checkout / "params.yaml").write_text(before.replace(old, new))
        assert find_changed(checkout) == stages
    finally:
        (checkout / "params.yaml").write_text(before)


def test_a_changed_value_runs_its_stage_and_those_whose_input_changed(checkout: Path) -> None:
    before = (checkout / "params.yaml").read_text()
    try:
        (checkout / "params.yaml").write_text(before.replace("worst: 12", "worst: 11"))
        ran = run(checkout, "dvc", "repro")
        assert [node.name for node in NODES if f"Running stage '{node.name}'" in ran] == ["evaluate"]
    finally:
        (checkout / "params.yaml").write_text(before)
    assert "Stage 'evaluate' is cached - skipping run" in run(checkout, "dvc", "repro")
    assert find_changed(checkout) == set()


def test_a_new_local_file_is_seen_by_ingest(checkout: Path) -> None:
    (checkout / "inbox/new.txt").write_text("a new thing")
    assert find_changed(checkout) == {"ingest"}
    (checkout / "inbox/new.txt").unlink()
