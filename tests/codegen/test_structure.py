"""The shape of the code: DVC watches what runs; files and functions stay small."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import shardwright
from pipeline.codegen.dvc_yaml import NODES, Node, render_stages
from pipeline.incremental import module_sources
from pipeline.incremental.module_sources import find_imports, find_source_files, read_lazy_names
from pipeline.modalities.table import MODALITIES
from pipeline.tables.contracts import JOINS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
CODE = [path for folder in ("shardwright", "pipeline", "stages") for path in sorted((ROOT / folder).rglob("*.py"))]


def test_dvc_yaml_names_exactly_the_code_that_each_stage_runs() -> None:
    assert (ROOT / "dvc.yaml").read_text() == render_stages(), "run `make generated`"


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_imports_of_a_stage_are_watched(node: Node) -> None:
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
    assert "pipeline/formats/audio/ogg.py" in watched["clean"]
    assert "pipeline/formats/audio/ogg.py" not in watched["train"]
    assert "pipeline/models/fusions/attention.py" in watched["train"] & watched["evaluate"]
    assert "pipeline/models/fusions/attention.py" not in watched["extract"]


def test_modalities_are_what_their_names_say() -> None:
    folders = {path.parent.name for path in (ROOT / "pipeline/modalities").glob("*/modality.py")}
    assert folders == set(MODALITIES)
    for name, modality in MODALITIES.items():
        assert modality.name == name
        assert JOINS[name] == (modality.learning is not None and modality.learning.join is not None)


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 400
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert (node.end_lineno or 0) - node.lineno < 60, f"{node.name} is too long"


@pytest.mark.parametrize("tree", ["pipeline", "shardwright"])
def test_a_class_name_has_one_meaning(tree: str) -> None:
    modules: dict[str, list[str]] = {}
    for path in sorted((ROOT / tree).rglob("*.py")):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                modules.setdefault(node.name, []).append(str(path.relative_to(ROOT)))
    assert {name: paths for name, paths in modules.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("name", [node.name for node in NODES])
def test_entry_points_are_short(name: str) -> None:
    assert len((ROOT / f"stages/{name}.py").read_text().splitlines()) <= 20


def test_contributing_lists_the_folders_of_tests() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    folders = {path.parent.name for path in (ROOT / "tests").glob("*/__init__.py")} - {"support"}
    assert [name for name in sorted(folders) if f"| `{name}` |" not in text] == []


def test_contributing_names_files_that_exist() -> None:
    named = re.findall(r"`((?:shardwright|pipeline|tests|docs)/[\w/.]+)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_lazy_names_count_as_imports_of_the_modules_that_define_them() -> None:
    homes = read_lazy_names("shardwright")
    assert homes.keys() == set(shardwright.__all__)
    for name, home in homes.items():
        assert getattr(shardwright, name) is getattr(import_module(home), name)
    for stage in ("stages.train", "stages.evaluate"):
        assert set(find_source_files(homes["Loader"])) <= set(find_source_files(stage))


def test_lazy_objects_count_as_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "table.py").write_text(
        "from pipeline.config.lazy_import import LazyObject\n"
        "TABLE = {'one': LazyObject('pipeline.models.fusions:Concat'), 'two': [LazyObject('demo.plan:Site')]}\n"
        "def load():\n    return LazyObject('pipeline.models.layers:Two').load()\n"
    )
    (tmp_path / "formed.py").write_text("LazyObject(f'pipeline.{name}.step:{name.upper()}')\n")
    (tmp_path / "computed.py").write_text("LazyObject(name)\n")
    for name in ("one", "two"):
        (tmp_path / "pipeline" / name).mkdir(parents=True)
        (tmp_path / "pipeline" / name / "step.py").touch()
    monkeypatch.setattr(module_sources, "ROOT", tmp_path)
    assert {"pipeline.models.fusions", "demo.plan", "pipeline.models.layers"} <= set(find_imports(Path("table.py")))
    assert find_imports(Path("formed.py")) == ("pipeline.one.step", "pipeline.two.step")
    with pytest.raises(AssertionError, match="takes one string"):
        find_imports(Path("computed.py"))


LOADERS = {
    "pipeline/config/lazy_import.py",
    "pipeline/config/check_params.py",
    "pipeline/config/named_function.py",
    "pipeline/config/plugins.py",
    "shardwright/__init__.py",
}
"""Files that import modules by a name that is a value: those of LazyObject, of params, of functions that params name
(`crawl.hosts.*.serve` and `run.client`, which are no part of the library), of plugins, and the lazy public names."""

SANDBOX = "pipeline/runtime/sandbox/child_main.py"
"""It imports again, before it forks, what its children have imported."""


@pytest.mark.parametrize("path", CODE, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_other_file_imports_by_a_computed_name(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in {*LOADERS, SANDBOX}:
        assert not re.search(r"\b(import_module|__import__)\b", path.read_text())
