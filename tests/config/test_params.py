"""Wrong params stop before any work, with a message that says how to mend them."""

import copy
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from pipeline.codegen.json_schemas import build_schemas, render_schema
from pipeline.config.check_params import (
    BLOCKS,
    check_all_blocks,
    load_block_type,
    read_effective_params,
    read_params,
)
from pipeline.config.choose_params import main as choose_params
from pipeline.config.params import Params
from pipeline.errors import ParamsError

ROOT = Path(__file__).parents[2]
PARAMS_FILES = [ROOT / "params.yaml", *sorted((ROOT / "examples").glob("*.yaml"))]


def load() -> dict[str, Any]:
    return read_effective_params(ROOT / "params.yaml")


def find_leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(value, dict):
        for key in value:
            yield from find_leaves(value[key], (*path, key))
    if path:
        yield path


def find_parent(blocks: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    for key in path[:-1]:
        blocks = blocks[key]
    return blocks


LEAVES = [path for path in find_leaves(load()) if path[:2] != ("crawl", "hosts") or len(path) == 2]
"""But for keys that a user chooses: the names of hosts, and the options of a function that serves one."""


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.name)
def test_types_and_schema_take_every_params_file(path: Path) -> None:
    blocks = read_params(path)
    check_all_blocks(blocks)
    jsonschema.validate(blocks, json.loads((ROOT / "schemas/params.schema.json").read_text()))
    assert list(blocks) == list(BLOCKS), "blocks stand in stage order"


def test_schemas_are_those_of_the_types() -> None:
    schemas = build_schemas()
    assert sorted(path.name for path in (ROOT / "schemas").iterdir()) == sorted(schemas)
    for name, schema in schemas.items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert (ROOT / "schemas" / name).read_text() == render_schema(schema), "run `make generated`"


def test_every_key_says_what_it_means() -> None:
    schema = build_schemas()["params.schema.json"]
    models = {**schema["$defs"], "": schema}
    silent = [
        f"{model}.{key}"
        for model, definition in models.items()
        if model
        for key, value in definition.get("properties", {}).items()
        if "description" not in value
    ]
    assert not silent


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_an_unknown_key_is_named_with_the_nearest_one(path: tuple[str, ...]) -> None:
    blocks = load()
    parent = find_parent(blocks, path)
    parent[path[-1] + "x"] = parent.pop(path[-1])
    with pytest.raises(ParamsError, match=rf"{'.'.join(path)}x is not a known (key|block); did you mean {path[-1]}\?"):
        check_all_blocks(blocks)


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
@pytest.mark.parametrize("bad", [b"bytes", {"nested": {"nonsense": 1}}, [[]], float("nan"), -(10**30)], ids=str)
def test_a_bad_value_is_refused_with_its_key(path: tuple[str, ...], bad: object) -> None:
    blocks = load()
    find_parent(blocks, path)[path[-1]] = copy.deepcopy(bad)
    with pytest.raises(ParamsError) as caught:
        check_all_blocks(blocks)
    assert path[0] in str(caught.value)


def test_messages() -> None:
    blocks = load()
    blocks["train"]["fusoin"] = blocks["train"].pop("fusion")
    blocks["clean"]["image"]["min_side"] = "16"
    with pytest.raises(ParamsError) as caught:
        check_all_blocks(blocks)
    message = str(caught.value)
    assert "params.yaml: train.fusoin is not a known key; did you mean fusion?" in message
    assert 'params.yaml: clean.image.min_side is "16"; it must be a whole number' in message


def test_blocks_are_frozen() -> None:
    for name in BLOCKS:
        block_type = load_block_type(name)
        assert issubclass(block_type, Params)
        assert block_type.model_config["frozen"]


def test_a_params_file_that_is_none(tmp_path: Path) -> None:
    for content in ["", "- 1", "a: [", "\0"]:
        (tmp_path / "params.yaml").write_text(content)
        with pytest.raises(ParamsError, match=r"params\.yaml"):
            check_all_blocks(read_params(tmp_path / "params.yaml"))
    (tmp_path / "params.yaml").write_bytes("crawl: {agent: é}".encode("latin-1"))
    with pytest.raises(ParamsError, match="not UTF-8 at byte 15"):
        read_params(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match="is missing"):
        read_params(tmp_path / "none.yaml")


def test_data_changes_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(before)
    (tmp_path / "my 'data'").mkdir()
    monkeypatch.chdir(tmp_path)
    assert choose_params(["--data", "my 'data'"]) == 0
    after = (tmp_path / "params.yaml").read_text()
    changed = [(a, b) for a, b in zip(before.splitlines(), after.splitlines(), strict=True) if a != b]
    assert len(changed) == 1
    assert yaml.safe_load(after)["ingest"]["root"] == "my 'data'"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: a repository with params, an example of others, and two folders of data."""
    params = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(params, encoding="utf-8")
    (tmp_path / "example.yaml").write_text(params.replace("min_side: 16", "min_side: 17"), encoding="utf-8")
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
        blocks = yaml.safe_load(repository.read_text(encoding="utf-8"))
        assert (blocks["clean"]["image"]["min_side"], blocks["ingest"]["root"]) == (17, data)


def test_changes_are_lost_by_force_alone(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = repository.read_text(encoding="utf-8").replace("min_side: 16", "min_side: 99")
    repository.write_text(mine, encoding="utf-8")
    assert choose_params(["--params", "example.yaml"]) == 1
    assert "FORCE=1" in capsys.readouterr().err
    assert repository.read_text(encoding="utf-8") == mine
    assert choose_params(["--params", "example.yaml", "--force"]) == 0
    assert "min_side: 17" in repository.read_text(encoding="utf-8")


@pytest.mark.parametrize("example", ["a: [", "a: 1", "missing"])
def test_a_wrong_choice_changes_nothing(repository: Path, example: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = repository.read_text(encoding="utf-8")
    if example != "missing":
        Path("wrong.yaml").write_text(example, encoding="utf-8")
    assert choose_params(["--params", "wrong.yaml"]) == 1
    assert capsys.readouterr().err
    assert repository.read_text(encoding="utf-8") == before
    assert not list(repository.parent.glob("*.new"))


def test_a_root_that_cannot_be_found_is_said(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blocks = yaml.safe_load(repository.read_text(encoding="utf-8"))
    Path("flow.yaml").write_text(yaml.safe_dump(blocks, default_flow_style=True), encoding="utf-8")
    assert choose_params(["--params", "flow.yaml", "--data", "other"]) == 1
    assert "line of its own" in capsys.readouterr().err
