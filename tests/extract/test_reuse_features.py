"""Features read from cached shards: the shards are those of a build from nothing, also where one is damaged."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.extract.params import ExtractParams
from pipeline.incremental.object_store import ROWS, ObjectStore
from pipeline.incremental.pack_index import encode_rows
from pipeline.tables.contracts import SHARDS_FOLDER
from pipeline.tables.drops import Outcome
from tests.support.factory_extract import Thing, make_params, make_things, run_extract, write_corpus
from tests.support.running import hash_files

pytestmark = pytest.mark.slow

LONG = "a caption that makes the meta of every sample in its shard longer " * 8


def give_corpus(folder: Path, things: Sequence[Thing], params: ExtractParams) -> Outcome:
    """Extract a corpus in place of the one that was there."""
    shutil.rmtree(folder / "data", ignore_errors=True)
    write_corpus(folder / "data", things)
    return run_extract(folder, params)


def check_as_from_nothing(folder: Path, things: Sequence[Thing], params: ExtractParams) -> None:
    """The shards are those of a build without a cache."""
    other = folder / "nothing"
    shutil.rmtree(other, ignore_errors=True)
    give_corpus(other, things, params)
    assert hash_files(folder / "data" / SHARDS_FOLDER) == hash_files(other / "data" / SHARDS_FOLDER)


@pytest.mark.parametrize(("store", "caption"), [("tensor", LONG), ("jpeg", "red bird")])
def test_a_new_sample_changes_nothing_else(store: str, caption: str, tmp_path: Path) -> None:
    params = make_params(shards=2, image__store=store)
    things, new = make_things(12), Thing("new", contents={"text": caption.encode()})
    give_corpus(tmp_path, things, params)
    outcome = give_corpus(tmp_path, [*things, new], params)
    assert any(note.startswith("features: 36 reused, 3 computed") for note in outcome.notes)
    check_as_from_nothing(tmp_path, [*things, new], params)
    give_corpus(tmp_path, things[3:], params)  # some are gone, and the long one
    check_as_from_nothing(tmp_path, things[3:], params)


def test_shards_that_are_cut_anew(tmp_path: Path) -> None:
    things = make_things(12)
    for shards, computed in ((1, 36), (4, 0), (2, 0)):
        params = make_params(shards=shards)
        outcome = give_corpus(tmp_path, things, params)
        assert any(f"{computed} computed" in note for note in outcome.notes)
        check_as_from_nothing(tmp_path, things, params)


@pytest.mark.parametrize("offset", [600, 2100, -3000])
def test_a_damaged_feature_is_computed_again(offset: int, tmp_path: Path) -> None:
    params, things = make_params(shards=1), make_things(12)
    give_corpus(tmp_path, things, params)
    for path in (tmp_path / "cache/objects").glob("*.tar"):
        content = bytearray(path.read_bytes())
        content[offset] ^= 1
        path.unlink()  # one inode is the published shard too
        path.write_bytes(content)
    outcome = give_corpus(tmp_path, [*things, Thing("new")], params)
    read = offset > 0  # not the end, where the last sample's meta is, which is made anew
    assert any("damaged objects" in note for note in outcome.notes) == read
    check_as_from_nothing(tmp_path, [*things, Thing("new")], params)


def test_shards_that_another_version_kept_give_their_features(tmp_path: Path) -> None:
    params, things = make_params(shards=1), make_things(12)
    give_corpus(tmp_path, things, params)
    objects = ObjectStore(tmp_path / "cache", tmp_path / "cache/work")
    for name in objects.list_names():
        if name.endswith(".tar"):
            rows = replace(objects.read_rows(name), about={}, extra=b"")
            (objects.folder / f"{name}{ROWS}").write_bytes(encode_rows(rows))
    outcome = give_corpus(tmp_path, [*things, Thing("new")], params)
    assert any(note.startswith("features: 36 reused, 3 computed") for note in outcome.notes)
    check_as_from_nothing(tmp_path, [*things, Thing("new")], params)
