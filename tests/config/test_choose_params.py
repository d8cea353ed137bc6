"""Check how `make repro` chooses params: an example, a folder of data, and what DVC watches."""

import subprocess
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from pipeline.config.check_params import read_params
from pipeline.config.choose_params import add_watched_keys, set_value
from pipeline.config.choose_params import main as choose_params

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_data_changes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)
    (tmp_path / "my 'data'").mkdir()
    monkeypatch.chdir(tmp_path)
    assert choose_params(["--data", "my 'data'"]) == 0
    after = (tmp_path / "params.yaml").read_text()
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    assert read_params(tmp_path / "params.yaml")["ingest"]["root"] == "my 'data'"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a repository with params, an example of others, and two folders of data."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    (tmp_path / "example.yaml").write_text(params.replace("epochs: 30", "epochs: 17"), encoding="utf-8")
    for name in ("ü #1", "other"):
        (tmp_path / name).mkdir()
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "a"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "params.yaml"


def test_the_same_choice_twice_is_no_loss(repository: Path) -> None:
    for data in ("ü #1", "ü #1", "other", "ü #1"):
        assert choose_params(["--params", "example.yaml", "--data", data]) == 0
        blocks = read_params(repository)
        assert (blocks["train"]["epochs"], blocks["ingest"]["root"]) == (17, data)


def test_changes_are_lost_by_force_alone(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = repository.read_text(encoding="utf-8").replace("epochs: 30", "epochs: 99")
    repository.write_text(mine, encoding="utf-8")
    assert choose_params(["--params", "example.yaml"]) == 1
    assert "FORCE=1" in capsys.readouterr().err
    assert repository.read_text(encoding="utf-8") == mine
    assert choose_params(["--params", "example.yaml", "--force"]) == 0
    assert "epochs: 17" in repository.read_text(encoding="utf-8")


@pytest.mark.parametrize("mine", ["a: [", "- 1\n", ""])
def test_a_broken_file_is_replaced_by_force_or_where_it_is_empty(repository: Path, mine: str) -> None:
    repository.write_text(mine, encoding="utf-8")
    assert choose_params(["--params", "example.yaml"]) == (1 if mine else 0)
    assert choose_params(["--params", "example.yaml", "--force"]) == 0
    assert read_params(repository)["train"]["epochs"] == 17


@pytest.mark.parametrize("example", ["a: [", "a: 1", "missing"])
def test_a_wrong_choice_changes_nothing(repository: Path, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = repository.read_text(encoding="utf-8")
    if example != "missing":
        Path("wrong.yaml").write_text(example, encoding="utf-8")
    assert choose_params(["--params", "wrong.yaml"]) == 1
    assert capsys.readouterr().err.startswith("wrong.yaml")
    assert repository.read_text(encoding="utf-8") == before
    assert not list(repository.parent.glob("*.new"))


FILES = [
    "run:\n",
    "{run: {}}\n",
    "{}\n",
    "ingest:\n",
    "ingest: {}\n",
    "ingest:  # a comment\n  text: whole # another\n",
    "ingest: {text: whole}  # a comment\n",
    "ingest:\n  # a comment\n  root: 'a''b'   # another\n",
    "ingest:\n    root: # a comment\n    text: whole\n",
    "clean: {}\ningest: {root: x}\nrun:\n  workers: 0",
    "ingest:\n  root: |\n    folder\n  text: whole\n",
    "# a comment\n\ncrawl:\n  start: []\n# another\n",
    "crawl:\n- no mapping\n",
]


@pytest.mark.parametrize("text", FILES)
def test_a_value_is_set_in_any_style(text: str) -> None:
    folder = "ü #1: 'x' \"y\""
    before = YAML(typ="safe").load(text)
    changed = set_value(text, ("ingest", "root"), folder)
    after = YAML(typ="safe").load(changed)
    assert after.pop("ingest") == {**(before.pop("ingest", None) or {}), "root": folder}
    assert after == before
    assert [changed.count(word) for word in ("# a comment", "# another")] == [
        text.count(word) for word in ("# a comment", "# another")
    ]


@pytest.mark.parametrize("text", FILES)
def test_what_dvc_watches_is_added_once_and_nothing_else_changes(text: str) -> None:
    before = YAML(typ="safe").load(text)
    changed, lines = add_watched_keys(text)
    after = YAML(typ="safe").load(changed)
    assert set(after) >= {"crawl", "ingest", "clean", "align", "extract", "train", "evaluate"}
    assert isinstance(after["crawl"], list) or "lists_folder" in after["crawl"]
    for block, value in before.items():
        given = value or {}
        assert after[block] == ({**after[block], **given} if isinstance(given, dict) and after[block] else value)
    assert add_watched_keys(changed) == (changed, [])
    assert all(f"\n{line}\n" in f"\n{changed}" or "{" in text for line in lines if line.endswith(" {}"))


def test_blocks_that_an_example_leaves_out_are_added(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("short.yaml").write_text("train:\n  epochs: 17\n", encoding="utf-8")
    assert choose_params(["--params", "short.yaml", "--data", "other"]) == 0
    said = capsys.readouterr().out
    assert "params.yaml: added `crawl: {lists_folder: lists}`, which dvc.yaml watches\n" in said
    assert "params.yaml: added `clean: {}`, which dvc.yaml watches\n" in said
    blocks = read_params(repository)
    assert blocks["train"] == {"epochs": 17}
    assert blocks["ingest"] == {"root": "other"}
    assert set(blocks) == {"crawl", "ingest", "clean", "align", "extract", "train", "evaluate"}
    assert choose_params(["--params", "short.yaml", "--data", "other"]) == 0
    assert choose_params([]) == 0


def test_data_may_be_an_archive_but_not_stand_beside_sources(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("files.zip").write_bytes(b"")
    assert choose_params(["--data", "files.zip"]) == 0
    assert read_params(repository)["ingest"]["root"] == "files.zip"
    Path("sources.yaml").write_text("ingest:\n  sources:\n  - path: other\n", encoding="utf-8")
    assert choose_params(["--params", "sources.yaml", "--data", "files.zip"]) == 1
    assert "sources.yaml has ingest.sources" in capsys.readouterr().err
