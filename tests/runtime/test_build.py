"""`build` runs what `dvc repro` would run and leaves the same files, in folders that are no git repositories."""

import shutil
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import pytest
from dvc.repo import Repo
from dvc.utils.serialize import dumps_yaml
from hypothesis import given

from pipeline.config.choose_params import set_value
from pipeline.errors import ParamsError
from pipeline.runtime.build import BuildError, build
from pipeline.runtime.build_command import run
from pipeline.runtime.lock_entry import replace_entry
from tests.support.running import hash_files

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:_NoneStep:DeprecationWarning")]  # of DVC's pygtrie

STAGES = """
stages:
  list:
    cmd: mkdir -p data/listed && ls inbox > data/listed/files
    outs: [data/listed]
    always_changed: true
  clean:
    cmd: mkdir -p data/cleaned && sort data/listed/files > data/cleaned/files
    deps: [data/listed, lists]
    params: [clean]
    outs: [data/cleaned]
  train:
    cmd: mkdir -p data/model && wc -l < data/cleaned/files > data/model/weights
    deps: [data/cleaned]
    params: [train]
    outs: [data/model]
"""

PARAMS = """
crawl: {lists_folder: lists}
ingest: {}
clean: {}
align: {}
extract: {}
train: {seed: 1, learning_rate: 1e-5}
evaluate: {}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with three small stages, without git; the current folder."""
    folder = tmp_path / "a project"
    for name in (".dvc", "inbox", "lists"):
        (folder / name).mkdir(parents=True)
    (folder / ".dvc/config").write_text("[core]\n    analytics = false\n")
    (folder / "dvc.yaml").write_text(STAGES)
    (folder / "params.yaml").write_text(PARAMS)
    for name in ("inbox/one.txt", "lists/urls.csv"):
        (folder / name).write_text("something")
    monkeypatch.chdir(folder)
    return folder


def read_outputs(folder: Path) -> dict[str, str]:
    return {"lock": (folder / "dvc.lock").read_text(), **hash_files(folder / "data")}


def open_dvc(folder: Path) -> Any:
    return Repo(str(folder), config={"core": {"no_scm": True}})


def change_param(name: str, value: Any) -> None:
    params = Path("params.yaml")
    params.write_text(set_value(params.read_text(), name.split("."), value))


def test_it_leaves_what_dvc_leaves(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = shutil.copytree(project, project.with_name("other"))
    assert build() == ["list", "clean", "train"]
    monkeypatch.chdir(other)
    with open_dvc(other) as repo:
        repo.reproduce()
    assert read_outputs(project) == read_outputs(other)
    monkeypatch.chdir(project)
    with open_dvc(project) as repo:
        assert repo.status() == {"list": ["always changed"]}
    cached = [hash_files(folder / ".dvc/cache") for folder in (project, other)]
    assert cached[0] == cached[1] != {}


def test_only_what_changed_runs(project: Path) -> None:
    build()
    before = read_outputs(project)
    assert build() == ["list"]
    assert read_outputs(project) == before
    change_param("train.seed", 2)
    assert build(dry=True) == ["list", "train"]
    assert build(["clean"]) == ["list"]
    assert build() == ["list", "train"]
    (project / "inbox/two.txt").touch()
    assert build() == ["list", "clean", "train"]
    assert build(["clean"], force=True) == ["list", "clean"]
    (project / "inbox/two.txt").unlink()
    change_param("train.seed", 1)
    assert build() == ["list", "clean", "train"]  # from DVC's cache
    assert read_outputs(project) == before


def test_without_a_cache_the_outputs_and_the_lock_are_the_same(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = shutil.copytree(project, project.with_name("other"))
    build()
    monkeypatch.chdir(other)
    build(cache=False)
    assert read_outputs(project) == read_outputs(other)
    assert hash_files(other / ".dvc/cache") == {}
    assert build(cache=False) == ["list"]


def test_a_failed_stage_is_named_and_what_was_finished_is_kept(
    project: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (project / "dvc.yaml").write_text(STAGES.replace("wc -l <", "echo no weights >&2; false <"))
    assert run([]) == 2
    assert capfd.readouterr().err == (
        "no weights\nshardwright: the stage train failed, see its message above; what was finished before it is kept\n"
    )
    (project / "dvc.yaml").write_text(STAGES)
    assert build() == ["list", "train"]


def test_what_dvc_cannot_do_is_said_in_words(project: Path) -> None:
    (project / "lists").rename(project / "elsewhere")
    with pytest.raises(BuildError, match="the stage clean reads lists, which is missing"):
        build()
    (project / "elsewhere").rename(project / "lists")
    with pytest.raises(BuildError, match="'trian'"):
        build(["trian"])
    lock = project / "dvc.lock"
    lock.write_text(lock.read_text() + "schema: '2.0'\n")
    with pytest.raises(BuildError, match=r"dvc\.lock"):
        build()
    lock.unlink()
    (project / "params.yaml").write_text(PARAMS + "train: {}\n")
    with pytest.raises(ParamsError, match=r"params\.yaml.*train"):
        build()


def test_blocks_that_params_lack_are_added(project: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (project / "params.yaml").write_text("train: {seed: 1}\n")
    assert run(["--dry"]) == 0
    assert capfd.readouterr().out == "would run: list, clean, train\n"
    assert not (project / "data").exists()
    assert "lists_folder" in (project / "params.yaml").read_text()


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=200)
VALUES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXTS, st.lists(TEXTS))
ENTRIES = st.dictionaries(
    st.sampled_from(["list", "clean", "train"]),
    st.fixed_dictionaries({"cmd": TEXTS, "params": st.dictionaries(TEXTS, VALUES, max_size=3)}),
    max_size=3,
)


@given(ENTRIES, ENTRIES.filter(bool))
def test_a_replaced_entry_is_what_dvc_would_write(before: dict[str, Any], after: dict[str, Any]) -> None:
    name = next(iter(after))
    only = dumps_yaml({"schema": "2.0", "stages": {name: after[name]}})
    text = dumps_yaml({"schema": "2.0", "stages": before}) if before else "schema: '2.0'\nstages:\n"
    assert replace_entry(text, name, only) == dumps_yaml({"schema": "2.0", "stages": {**before, name: after[name]}})
