"""Compare the modules that each stage loads while it runs with the files that `dvc.yaml` names."""

import subprocess
import sys

import pytest

from pipeline.codegen.dvc_yaml import NODES
from pipeline.incremental.module_sources import find_path, find_source_files
from tests.support.dvc_checkout import DvcCheckout
from tests.support.running import ROOT

pytestmark = pytest.mark.slow

CHECK_PARAMS = """
import sys
from pathlib import Path
from pipeline.config.check_params import check_all_blocks
from pipeline.config.check_params import read_params

check_all_blocks(read_params(Path("params.yaml")))
print(*sys.modules, sep="\\n")
"""


def find_files(names: set[str]) -> set[str]:
    """The files of those of the modules that are this project's."""
    return {str(path) for name in names if (path := find_path(name))}


@pytest.fixture(scope="module")
def loaded(checkout: DvcCheckout) -> dict[str, dict[int, set[str]]]:
    """The files that each stage loaded when it ran on the demo of 60 things, by stage and process."""
    return {
        stage: {pid: find_files(names) for pid, names in processes.items()}
        for stage, processes in checkout.loaded.items()
    }


@pytest.fixture(scope="module")
def checked() -> set[str]:
    """The files that the check of the whole params file loads, at the start of every stage: it may refuse, no more."""
    command = [sys.executable, "-c", CHECK_PARAMS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return find_files(set(done.stdout.split()))


@pytest.mark.parametrize("name", [node.name for node in NODES])
def test_a_stage_loads_only_files_that_dvc_watches(
    name: str, loaded: dict[str, dict[int, set[str]]], checked: set[str]
) -> None:
    files = set().union(*loaded[name].values())
    assert files - checked <= set(find_source_files(f"stages.{name}"))
    assert f"stages/{name}.py" in files
    if name in ("clean", "extract"):
        assert len(loaded[name]) > 1, "the processes of the tasks were not seen"


def test_the_code_that_orders_samples_makes_train_and_evaluate_stale(loaded: dict[str, dict[int, set[str]]]) -> None:
    order = "shardwright/datasets/permutation.py"
    assert any(order in files for files in loaded["train"].values())
    for name in ("train", "evaluate"):
        assert order in find_source_files(f"stages.{name}")
