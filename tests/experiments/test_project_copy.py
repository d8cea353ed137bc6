"""Stages run on other params beside the project, which stays as it is, and reuse what it has made."""

import subprocess
from pathlib import Path

import pytest

from pipeline.errors import ParamsError
from pipeline.experiments.changed_params import parse_changes
from pipeline.experiments.project_copy import find_experiments, open_copy, render_params
from pipeline.runtime.build import build
from tests.support.running import hash_files
from tests.support.toy_project import make_project

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")]  # of DVC's pygtrie


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = make_project(tmp_path / "a project")
    monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
    monkeypatch.chdir(folder)
    return folder


def read_runs(project: Path) -> list[str]:
    """The stages that ran since the last call."""
    runs = project.parent / "runs"
    names = runs.read_text().split() if runs.exists() else []
    runs.unlink(missing_ok=True)
    return names


def test_a_copy_runs_only_what_its_params_change(project: Path) -> None:
    subprocess.run(["git", "init", "-q"], check=True)
    (project / ".gitignore").write_text(".cache/\n/data/\n")
    build()
    assert read_runs(project) == ["list", "extract", "train"]
    before, status = hash_files(project / "data"), read_status()
    copy = open_copy(project, find_experiments(project, "tries") / "0", {"train.learning_rate": 0.5})
    copy.build()
    assert read_runs(project) == ["list", "train"]  # the shards are those that the project made
    assert "learning_rate: 0.5" in (copy.data / "6_model/params").read_text()
    copy.build()
    assert read_runs(project) == ["list"]
    again = open_copy(project, copy.folder, {"train.learning_rate": 0.25})
    again.build(["train"])
    assert read_runs(project) == ["list", "train"]
    (project / "inbox/two.txt").touch()
    again.build()
    assert read_runs(project) == ["list", "extract", "train"]
    assert hash_files(project / "data") == before
    assert read_status() == status


def read_status() -> str:
    return subprocess.run(["git", "status", "--short"], capture_output=True, text=True, check=True).stdout


def test_links_follow_the_project(project: Path) -> None:
    folder = find_experiments(project, "tries") / "0"
    (project / "old.txt").touch()
    open_copy(project, folder, {})
    assert (folder / "old.txt").is_symlink()
    (project / "old.txt").rename(project / "new.txt")
    open_copy(project, folder, {})
    assert not (folder / "old.txt").is_symlink()
    assert (folder / "new.txt").is_symlink()


def test_paths_out_of_the_project_are_absolute_and_the_others_stay(project: Path) -> None:
    text = render_params(project, {"ingest.root": "../elsewhere"})
    assert f"root: {project.parent / 'elsewhere'}" in text
    assert "# of all" in text
    text = render_params(project, {"ingest.sources": [{"path": "../a"}, {"path": "b"}, {"path": "s3://c/../d"}]})
    assert f"{{path: {project.parent / 'a'}}}, {{path: b}}" in text
    assert "s3://c/../d" in text
    assert str(project / ".cache") in text


def test_wrong_changes_are_named(project: Path) -> None:
    with pytest.raises(ParamsError, match=r"train\.learn_rate is not a known key; did you mean learning_rate"):
        open_copy(project, project / ".cache/experiments/0", {"train.learn_rate": 1})
    assert not (project / ".cache/experiments/0").exists()


def test_changes_of_a_command_line() -> None:
    assert parse_changes(
        ["train.epochs=3", "align.folds=by_group", "train.learning_rate=1e-4", "train.seeds=[1, 2]"]
    ) == {
        "train.epochs": 3,
        "align.folds": "by_group",
        "train.learning_rate": 1e-4,
        "train.seeds": [1, 2],
    }
    for change in ("train.epochs", "epochs=3"):
        with pytest.raises(ParamsError, match="it must be NAME=VALUE"):
            parse_changes([change])
