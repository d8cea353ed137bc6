"""Check that keys of params have defaults and meanings, and that wrong params stop before any work."""

import copy
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from ruamel.yaml import YAML

from pipeline.codegen.json_schemas import build_schemas, render_schema
from pipeline.config.check_params import (
    BLOCKS,
    check_all_blocks,
    load_block_type,
    read_effective_params,
    read_params,
)
from pipeline.config.choose_params import add_watched_keys
from pipeline.config.params import Params
from pipeline.errors import ParamsError

pytestmark = pytest.mark.slow

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
    assert list(blocks) == [name for name in BLOCKS if name in blocks], "blocks are in stage order"


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.name)
def test_every_params_file_has_what_dvc_watches(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert add_watched_keys(text) == (text, [])


@pytest.mark.parametrize("path", PARAMS_FILES, ids=lambda path: path.name)
def test_dvc_rewrites_a_params_file_without_changing_another_value(path: Path, tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides  # what `dvc exp run -S` does

    before, copied = read_effective_params(path), tmp_path / "params.yaml"
    before["train"]["learning_rate"] = 1e-5
    shutil.copy(path, copied)
    apply_overrides(str(copied), ["++train.learning_rate=1e-5"])
    assert read_effective_params(copied) == before
    yaml = YAML()
    yaml.dump(yaml.load(copied), copied)
    assert read_effective_params(copied) == before


def test_every_key_may_be_left_out() -> None:
    assert check_all_blocks({}) == check_all_blocks(dict.fromkeys(BLOCKS)) == check_all_blocks({n: {} for n in BLOCKS})
    for path in find_leaves(load()):
        if path[-1] != "serve" and "shares" not in path:  # a served host has to say by what, and shares add up to 1
            blocks = load()
            del find_parent(blocks, path)[path[-1]]
            check_all_blocks(blocks)


def test_the_schema_has_the_default_of_every_key() -> None:
    schema = build_schemas()["params.schema.json"]
    lacking = {
        f"{model}.{key}"
        for model, definition in schema["$defs"].items()
        for key, value in definition.get("properties", {}).items()
        if "default" not in value and "$ref" not in value
    }
    required = {f"{model}.{key}" for model, value in schema["$defs"].items() for key in value.get("required", [])}
    assert lacking == required
    frozen = {"FrozenVocabulary.path", "FrozenVocabulary.sha256"}
    assert required == {"UrlList.file", "SourceParams.path", "ServedHost.serve", "AnnotationTable.path"} | frozen
    jsonschema.validate({}, schema)
    jsonschema.validate(dict.fromkeys(BLOCKS), schema)


def test_yaml_is_read_as_dvc_reads_it(tmp_path: Path) -> None:
    from dvc.utils.serialize import load_yaml

    content = """
train: {learning_rate: 1e-5, seed: 064, width: 0o100}
align: {salt: on}
extract:
  classes:
  - yes
  - no
  - null
  - ~
  - 1:30
  - "064"
  - 1_000
  - 2026-01-01
"""
    (tmp_path / "params.yaml").write_text(content)
    blocks = read_params(tmp_path / "params.yaml")
    assert blocks == load_yaml(str(tmp_path / "params.yaml"))
    assert blocks["train"] == {"learning_rate": 1e-5, "seed": 64, "width": 64}
    assert blocks["align"]["salt"] == "on"
    assert blocks["extract"]["classes"][:6] == ["yes", "no", None, None, "1:30", "064"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train:\n  seed: 1\n  width: 64\n  seed: 2\n", "line 4: the key seed is there twice: remove one of them"),
        ("train: {}\n\ntrain: {}\n", "line 3: the key train is there twice: remove one of them"),
        ("crawl:\n\tstart: []\n", "is not valid YAML: line 2: found character that cannot start any token"),
        ("a: {}\n--- {}\n", "is not valid YAML: line 2: but found another document"),
        ("[crawl]", "must be a mapping of blocks: crawl, ingest, clean"),
    ],
)
def test_the_line_of_wrong_yaml_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParamsError, match=re.escape(f"params.yaml {message}")):
        read_params(tmp_path / "params.yaml")


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


MESSAGES: list[tuple[dict[str, Any], str]] = [
    ({"train": {"fusoin": "mean"}}, "train.fusoin is not a known key; did you mean fusion?"),
    ({"extrct": {}}, "extrct is not a known block; did you mean extract?"),
    ({"1": {}}, "1 is not a known block; known are crawl, ingest"),
    ({"clean": 3}, "clean is 3; it must be a mapping"),
    ({"clean": {"image": {"min_side": "16"}}}, 'clean.image.min_side is "16"; it must be a whole number'),
    ({"clean": {"image": {"min_side": 0}}}, "clean.image.min_side is 0; it must be at least 1"),
    ({"train": {"augment": "yes"}}, 'train.augment is "yes"; it must be true or false'),
    ({"train": {"dropout": 1}}, "train.dropout is 1; it must be less than 1"),
    ({"train": {"modalities": []}}, "train.modalities is []; it must have at least 1 item"),
    ({"train": {"modalities": ["image", "image"]}}, "it must be a list without repeats"),
    ({"train": {"fusion": "atention"}}, "; did you mean attention?"),
    (
        {"train": {"encoders": {"video": "cmn"}}},
        'train.encoders.video is "cmn"; it must be cnn or flat; did you mean cnn?',
    ),
    ({"crawl": {"start": "http://a.test/"}}, 'crawl.start is "http://a.test/"; it must be a list'),
    ({"crawl": {"lists": [{"url": "u"}]}}, "crawl.lists.0.file is missing, and has no default"),
    ({"run": {"cache": ""}}, 'run.cache is ""; it must not be empty'),
    ({"run": {"workers": 1025}}, "run.workers is 1025; it must be at most 1024"),
    ({"run": {"wait_for_workers": -1}}, "run.wait_for_workers is -1; it must be at least 0"),
    ({"run": {"client": "my_cluster"}}, 'run.client is "my_cluster"; it must match'),
    (
        {"run": {"scheduler": "tcp://127.0.0.1:1", "client": "m:f"}},
        'run.client is "m:f"; it must be null where run.scheduler is set: one of them names the cluster',
    ),
    ({"extract": {"shards": 3}}, "extract.shards is 3; it must be a power of two"),
    ({"extract": {"audio": {"coefficients": 200}}}, "extract.audio.coefficients is 200; it must be at most mels (64)"),
    (
        {"extract": {"audio": {"mels": 20}}},
        "extract.audio.coefficients is 40 (the default); it must be at most mels (20)",
    ),
    (
        {"extract": {"video": {"sound": {"mels": 20}}}},
        "extract.video.sound.coefficients is 40 (the default); it must be at most mels (20)",
    ),
    (
        {"extract": {"image": {"store": "jpeg", "dtype": "float16"}}},
        'extract.image.dtype is "float16"; it must be uint8, as store is jpeg',
    ),
]


@pytest.mark.parametrize(("blocks", "message"), MESSAGES, ids=lambda value: str(value)[:40])
def test_a_message_has_the_key_the_value_and_what_is_allowed(blocks: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError) as caught:
        check_all_blocks(blocks, "my.yaml")
    (line,) = str(caught.value).splitlines()
    assert line.startswith("my.yaml: ")
    assert message in line


def test_every_wrong_key_has_a_line() -> None:
    with pytest.raises(ParamsError) as caught:
        check_all_blocks({"train": {"seed": -1, "width": 0}, "evaluate": {"worst": "12"}, "x": None})
    assert len(str(caught.value).splitlines()) == 4


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
