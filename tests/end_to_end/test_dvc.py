"""Check that DVC runs all stages, knows when all is up to date, and reruns exactly what a changed value touches."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from pipeline.codegen.dvc_yaml import NODES
from pipeline.config.choose_params import set_value

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]

CHANGES: Mapping[str, tuple[Any, set[str]]] = {
    "crawl.max_depth": (9, {"crawl"}),
    "crawl.hosts.demo\\.test.options.seed": (8, {"crawl"}),
    "ingest.text": ("lines", {"ingest"}),
    "clean.audio.max_channels": (7, {"clean"}),
    "align.min_samples": (2, {"align"}),
    "align.modalities.image.required": (False, {"align"}),
    "extract.text.min_count": (3, {"extract"}),
    "train.fusion": ("mean", {"train"}),
    "train.learning_rate": (1e-5, {"train"}),
    "evaluate.worst": (11, {"evaluate"}),
    "run.workers": (1, set()),
}
"""For each block keys of params.yaml, whether it spells them or not, another value, and the stages that use them."""


def run(checkout: Path, *command: str, fails: bool = False) -> str:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode != 0) == fails, done.stdout + done.stderr
    return done.stdout + done.stderr


def change(checkout: Path, key: str, value: Any) -> None:
    """Set a value in params.yaml; a dot within a key has a backslash before it."""
    params = checkout / "params.yaml"
    path = [part.replace("\\.", ".") for part in re.split(r"(?<!\\)\.", key)]
    params.write_text(set_value(params.read_text(), path, value))


@contextmanager
def changed_params(checkout: Path) -> Iterator[None]:
    before = (checkout / "params.yaml").read_text()
    try:
        yield
    finally:
        (checkout / "params.yaml").write_text(before)


def list_stages_run(checkout: Path, *target: str) -> list[str]:
    said = run(checkout, "dvc", "repro", *target)
    return [node.name for node in NODES if f"Running stage '{node.name}'" in said and not node.always]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tracked files, with the small demo, run once."""
    folder = tmp_path_factory.mktemp("a checkout")
    tracked = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in tracked.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    for key, value in [("crawl.hosts.demo\\.test.options.things", 60), ("crawl.timeout", 5.0), ("train.epochs", 2)]:
        change(folder, key, value)
    run(folder, "git", "init", "-q")
    (folder / "dvc.lock").unlink(missing_ok=True)
    run(folder, "dvc", "repro", "--quiet")
    return folder


def find_changed(checkout: Path) -> set[str]:
    """The stages that `dvc status` names, without `list`, which it always does."""
    changed = json.loads(run(checkout, "dvc", "status", "--json"))
    assert changed.pop("list") == ["always changed"]
    return set(changed)


def test_all_is_up_to_date_after_a_run(checkout: Path) -> None:
    assert find_changed(checkout) == set()
    again = run(checkout, "dvc", "repro")
    assert re.findall(r"Running stage '(\w+)'", again) == ["list"]
    assert all(f"'{node.name}' didn't change" in again for node in NODES if not node.always)


@pytest.mark.parametrize("key", CHANGES)
def test_a_changed_value_touches_the_stages_that_use_it(checkout: Path, key: str) -> None:
    value, stages = CHANGES[key]
    with changed_params(checkout):
        change(checkout, key, value)
        assert find_changed(checkout) == stages


def test_a_changed_value_runs_its_stage_and_those_whose_input_changed(checkout: Path) -> None:
    with changed_params(checkout):
        change(checkout, "evaluate.worst", 11)
        assert list_stages_run(checkout) == ["evaluate"]
    assert "Stage 'evaluate' is cached - skipping run" in run(checkout, "dvc", "repro")
    assert find_changed(checkout) == set()


def test_a_key_added_with_its_default_runs_its_stage_alone(checkout: Path) -> None:
    """DVC compares what a block spells; the stage's output is the same, so that no other stage runs."""
    with changed_params(checkout):
        change(checkout, "align.min_samples", 1)
        assert find_changed(checkout) == {"align"}
        assert list_stages_run(checkout) == ["align"]
    assert list_stages_run(checkout, "align") == []  # its output is in DVC's run cache


def test_a_block_that_is_left_out_is_added_before_dvc_looks_for_it(checkout: Path) -> None:
    params = checkout / "params.yaml"
    with changed_params(checkout):
        blocks = YAML(typ="safe").load(params)
        del blocks["evaluate"], blocks["crawl"]["lists_folder"], blocks["run"]
        YAML().dump(blocks, params)
        refused = run(checkout, "dvc", "status", "--json", fails=True)
        assert "Could not find 'crawl.lists_folder'" in refused
        added = run(checkout, sys.executable, "-m", "pipeline.config.choose_params")
        assert "params.yaml: added `crawl: {lists_folder: lists}`, which dvc.yaml watches" in added
        assert "params.yaml: added `evaluate: {}`, which dvc.yaml watches" in added
        assert find_changed(checkout) == {"evaluate"}


def test_a_new_local_file_runs_ingest_and_a_touched_one_does_not(checkout: Path) -> None:
    """What DVC could not hash, a FIFO and a link to nothing, is a row of the listing."""
    new = checkout / "inbox/new.txt"
    new.write_text("a new thing")
    os.mkfifo(checkout / "inbox/fifo")
    (checkout / "inbox/nothing").symlink_to("nowhere")
    assert list_stages_run(checkout, "ingest") == ["ingest"]
    os.utime(new, (0, 0))
    assert list_stages_run(checkout, "ingest") == []
    for name in ("new.txt", "fifo", "nothing"):
        (checkout / "inbox" / name).unlink()
    assert list_stages_run(checkout, "ingest") == []  # its output is in DVC's run cache
