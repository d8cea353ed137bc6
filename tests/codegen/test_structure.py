"""The shape of the code: what DVC watches is what runs; files and functions stay small enough to hold in mind."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cache.module_sources import find_source_files
from pipeline.codegen.dvc_yaml import NODES, Node, render_stages
from pipeline.modalities.table import MODALITIES
from pipeline.tables.contracts import MODALITIES as NAMES

ROOT = Path(__file__).parents[2]
CODE = [path for folder in ("shardwright", "pipeline", "stages") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_dvc_yaml_names_exactly_the_code_that_each_stage_runs() -> None:
    assert (ROOT / "dvc.yaml").read_text() == render_stages(), "run `make generated`"


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_what_a_stage_loads_is_watched(node: Node) -> None:
    """The imports found in the source hold against those that really happen."""
    name = node.name
    watched = find_source_files(f"stages.{name}")
    program = (
        f"import sys, stages.{name}\n"
        "print(*[m.__file__ for n, m in sys.modules.items()"
        " if n.split('.')[0] in ('pipeline', 'shardwright', 'stages')], sep='\\n')"
    )
    loaded = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert {str(Path(line).relative_to(ROOT)) for line in loaded.stdout.split()} <= set(watched)


def test_an_edit_in_a_helper_is_seen_by_its_stage_alone() -> None:
    watched = {node.name: set(find_source_files(f"stages.{node.name}")) for node in NODES}
    assert "pipeline/formats/ogg.py" in watched["clean"]
    assert "pipeline/formats/ogg.py" not in watched["train"]
    assert "pipeline/models/fusions.py" in watched["train"] & watched["evaluate"]
    assert "pipeline/models/fusions.py" not in watched["extract"]


def test_modalities_are_named_once() -> None:
    assert tuple(MODALITIES) == NAMES
    assert all(modality.name == name for name, modality in MODALITIES.items())


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("name", [node.name for node in NODES])
def test_entry_points_are_short(name: str) -> None:
    assert len((ROOT / f"stages/{name}.py").read_text().splitlines()) <= 20


def test_contributing_says_what_each_test_file_guards() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    for path in sorted((ROOT / "tests").glob("test_*.py")):
        first_line = (ast.get_docstring(ast.parse(path.read_text())) or "").split("\n")[0]
        assert f"| `{path.name}` | {first_line} |" in text
