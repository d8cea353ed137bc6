"""extract drops what it cannot use with a reason, and stops with a message that says what to do."""

import hashlib
import io
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import CountMismatch, InputError, ParamsError, PipelineError, TooManyDrops
from pipeline.extract.feature_entry import check_arrays
from pipeline.extract.make_shard import make_shard
from pipeline.extract.step import check_written
from pipeline.modalities.modality import MediaItem
from pipeline.modalities.table import MODALITIES as TABLE
from pipeline.tables.contracts import (
    ALIGNED_PARTS,
    CLEANED,
    CLEANED_ITEMS,
    DROPPED,
    EXTRACT_FOLDER,
    INGESTED_ITEMS,
    SHARDS_FOLDER,
)
from pipeline.tables.drops import Reason, Rejection
from pipeline.tables.table_files import identify_table, read_table, write_table
from shardwright.format.field import Field
from shardwright.format.manifest import read_manifest
from tests.support.factory_extract import (
    Thing,
    extract_things,
    make_params,
    make_things,
    plan_tasks,
    read_all,
    run_extract,
    write_corpus,
)
from tests.support.wrapped_files import WrappedFile

pytestmark = pytest.mark.slow


def read_dropped(folder: Path) -> dict[str, tuple[str, str]]:
    """Reason and detail by key."""
    rows = read_table(folder / "data" / EXTRACT_FOLDER / "dropped", DROPPED)
    return {row["key"]: (row["reason"], row["detail"]) for row in rows}


# What is dropped


def test_what_cannot_be_extracted_is_in_the_ledger(tmp_path: Path) -> None:
    broken = Thing("broken", contents={"image": b"\x89PNG but not really"})
    write_corpus(tmp_path / "data", [*make_things(16), broken])
    outcome = run_extract(tmp_path, make_params())
    assert (outcome.seen, outcome.kept) == (17, 16)
    assert read_dropped(tmp_path) == {"broken": ("broken", "image: the decoder cannot read the pixels")}
    assert "broken" not in read_all(tmp_path / "data" / SHARDS_FOLDER)


def test_a_shard_of_which_nothing_is_left_is_not_written(tmp_path: Path) -> None:
    broken = {"image": b"not an image"}
    lost = Thing("lost", "val", modalities=("image",), contents=broken)
    root = extract_things(tmp_path, [*make_things(2, modalities=("image",)), lost], make_params(max_dropped=0.5))
    assert list(read_manifest(root).splits) == ["train"]
    assert not (root / "val").exists()


@pytest.mark.parametrize("broken", [0, 3, 5])
def test_metas_are_as_long_as_the_longest_that_is_kept(broken: int, tmp_path: Path) -> None:
    """The sample that has the longest is dropped, first, in between or last: the bytes are those without it."""
    things = sorted(
        (Thing(f"thing-{number}", modalities=("image", "audio")) for number in range(6)),
        key=lambda thing: hashlib.sha256(thing.key.encode()).digest(),
    )
    lost = replace(things[broken], contents={"image": b"no image"}, columns={"attribution": "somebody " * 80})
    made = []
    for name, corpus in (("with", [*things[:broken], lost, *things[broken + 1 :]]), ("without", things)):
        folder = tmp_path / name
        kept = [thing for thing in corpus if name == "with" or thing is not things[broken]]
        write_corpus(folder / "data", kept)
        (task,) = plan_tasks(folder, make_params(shards=1))
        made.append((make_shard(task), task.path.read_bytes()))
    (first, content), (second, other) = made
    assert [drop.key for drop in first.shard.drops] == [lost.key]
    assert first.shard.written is not None
    assert second.shard.written is not None
    assert first.shard.written.record == second.shard.written.record
    assert content == other


def test_too_many_drops_stop_the_run_before_there_is_a_dataset(tmp_path: Path) -> None:
    broken = [Thing(f"broken-{number}", contents={"image": b"not an image"}) for number in range(3)]
    write_corpus(tmp_path / "data", [*make_things(8), *broken])
    with pytest.raises(TooManyDrops, match=r"extract\.max_dropped is 0\.1, but 3 of 11 samples .*: 3 broken"):
        run_extract(tmp_path, make_params())
    assert not (tmp_path / "data" / SHARDS_FOLDER).exists()


def test_a_dataset_of_nothing_is_refused(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", [Thing("broken", contents={"image": b"not an image"})])
    with pytest.raises(InputError, match="no sample is left to write; all were dropped: 1 broken"):
        run_extract(tmp_path, make_params(max_dropped=1.0))


def test_labels_are_numbered_by_the_list_in_params(tmp_path: Path) -> None:
    odd = [Thing("unknown", label="three", modalities=("image",)), Thing("none", label=None, modalities=("image",))]
    params = make_params(classes=["two", "zero", "one"], max_dropped=0.5)
    root = extract_things(tmp_path, [*make_things(8, modalities=("image",)), *odd], params)
    assert read_manifest(root).classes == ("two", "zero", "one")
    assert {sample["label"].item() for sample in read_all(root).values()} == {0, 2}
    assert {key: reason for key, (reason, _) in read_dropped(tmp_path).items()} == {
        "unknown": "unknown_label",
        "none": "missing_label",
    }


FLOATS = {"mfcc": Field("float32", (2, 3), axes="TC"), "mfcc_length": Field("int32", ())}
GOOD = {"mfcc": np.ones((2, 3), np.float32), "mfcc_length": np.array(2, np.int32)}


@pytest.mark.parametrize(
    ("wrong", "reason", "detail"),
    [
        ({"mfcc": np.full((2, 3), np.nan, np.float32)}, Reason.NONFINITE, "mfcc has values that are NaN or infinite"),
        ({"mfcc": np.full((2, 3), -np.inf, np.float32)}, Reason.NONFINITE, "mfcc has values that are NaN or infinite"),
        ({"mfcc": np.ones((3, 2), np.float32)}, Reason.BROKEN, "the extractor gave another dtype or shape of mfcc"),
        ({"mfcc": np.ones((2, 3))}, Reason.BROKEN, "the extractor gave another dtype or shape of mfcc"),
        ({"more": np.ones(1)}, Reason.BROKEN, "the extractor gave other fields"),
    ],
    ids=["nan", "infinite", "shape", "dtype", "extra"],
)
def test_arrays_that_are_not_as_planned_are_rejected(wrong: Mapping[str, Any], reason: Reason, detail: str) -> None:
    assert check_arrays(GOOD, FLOATS) is GOOD
    rejection = check_arrays({**GOOD, **wrong}, FLOATS)
    assert isinstance(rejection, Rejection)
    assert (rejection.reason, rejection.detail) == (reason, detail)


# What stops the run


def test_nothing_aligned(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", [])
    with pytest.raises(InputError, match="4_aligned/samples has no samples"):
        run_extract(tmp_path, make_params())


def test_an_item_that_clean_does_not_have(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_corpus(data, make_things(2))
    rows = list(read_table(data / CLEANED_ITEMS, CLEANED))
    refers = {INGESTED_ITEMS: identify_table(data / INGESTED_ITEMS)}
    shutil.rmtree(data / CLEANED_ITEMS)
    write_table(data / CLEANED_ITEMS, rows[:-1], CLEANED, refers)
    with pytest.raises(InputError, match=r"a sample names item 5, which is not in .*3_cleaned/items: run `dvc repro`"):
        run_extract(tmp_path, make_params())


@pytest.mark.parametrize("table", [CLEANED_ITEMS, ALIGNED_PARTS])
def test_item_numbers_of_another_table_are_refused(table: str, tmp_path: Path) -> None:
    """After ingest ran again, its numbers mean other items."""
    data = tmp_path / "data"
    write_corpus(data, make_things(2))
    write_corpus(tmp_path / "other", make_things(3))
    shutil.rmtree(data / table)
    shutil.copytree(tmp_path / "other" / table, data / table)
    with pytest.raises(InputError, match=f"{table}.*dvc repro"):
        run_extract(tmp_path, make_params())


def test_a_tar_that_was_cut(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", make_things(8, modalities=("image",)))
    tar = tmp_path / "data/2_ingested/items-000000.tar"
    tar.write_bytes(tar.read_bytes()[:3000])
    with pytest.raises(InputError, match="ends before byte"):
        run_extract(tmp_path, make_params())


def test_a_missing_tokenizer_is_found_before_any_work(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", make_things(2))
    with pytest.raises(InputError, match=r"extract\.text"):
        run_extract(tmp_path, make_params(text__language="ja"))
    assert list((tmp_path / "cache" / "work").iterdir()) == []


def test_a_fault_of_ours_names_the_sample(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", make_things(4))
    task = plan_tasks(tmp_path, make_params())[0]
    lost = replace(task.recipe.plan, classes=("neither",))
    with pytest.raises(ValueError, match="not in tuple") as caught:
        make_shard(replace(task, recipe=replace(task.recipe, plan=lost)))
    assert caught.value.__notes__ == [f"at sample {task.samples['key'][0]}"]


def test_a_fault_of_an_extractor_names_the_item(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(item: MediaItem, params: Any, learned: Any) -> Any:
        raise ZeroDivisionError

    write_corpus(tmp_path / "data", make_things(4))
    monkeypatch.setitem(TABLE.loaded, "image", replace(TABLE["image"], extract=fail))
    with pytest.raises(ZeroDivisionError) as caught:
        run_extract(tmp_path, make_params())
    assert any(note.startswith("at folder:thing-0") for note in caught.value.__notes__)


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    root = extract_things(tmp_path, make_things(2, modalities=("image",)))
    manifest = read_manifest(root)
    check_written(root, manifest, 2)
    with pytest.raises(CountMismatch, match="3 samples were kept, 2 are in the shards"):
        check_written(root, manifest, 3)
    with pytest.raises(CountMismatch, match=r"5_shards/dataset\.json differs"):
        check_written(root, replace(manifest, extract=None), 2)
    path = root / "train" / "train-000000.tar"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(CountMismatch, match=r"train/train-000000\.tar differs in size"):
        check_written(root, manifest, 2)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"x" + data[1:],
        lambda data: data[:-1] + b"x",
        lambda data: data + b"x",
        lambda data: data[:-1],
        lambda data: data[:700] + data[701:],
        lambda data: b"",
    ],
)
def test_a_shard_that_reads_other_than_it_was_written_is_refused(
    spoil: Callable[[bytes], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_corpus(tmp_path / "data", make_things(2, modalities=("image",)))
    task, opened = plan_tasks(tmp_path, make_params())[0], io.open

    def open_file(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        handle = opened(file, mode, *arguments, **options)
        bad = "x" in mode and task.name in str(file)
        return WrappedFile(handle, lambda real, data: int(real.write(spoil(data)))) if bad else handle

    monkeypatch.setattr(io, "open", open_file)
    with pytest.raises(PipelineError, match=rf"^{re.escape(task.name)} differs from what was written: the disk"):
        make_shard(task)
    assert not task.path.exists()


def test_an_item_that_is_not_what_was_cleaned_is_named(tmp_path: Path) -> None:
    write_corpus(tmp_path / "data", make_things(2, modalities=("audio",)))
    tar = tmp_path / "data/2_ingested/items-000000.tar"
    content = bytearray(tar.read_bytes())
    content[700] ^= 1
    tar.write_bytes(content)
    with pytest.raises(InputError, match=r"2_ingested/items-000000\.tar is damaged at item folder:thing-000\.wav"):
        run_extract(tmp_path, make_params())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shards": 3}, r"extract\.shards is 3; it must be a power of two"),
        ({"classes": ["a", "a"]}, r'extract\.classes is \["a", "a"\]; it must be a list without repeats'),
        ({"shard_bytes": 0}, r"extract\.shard_bytes is 0; it must be at least 4096"),
        ({"image__heigth": 3}, r"extract\.image\.heigth is not a known key; did you mean height\?"),
    ],
)
def test_params_are_refused_by_name(change: Mapping[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        make_params(**change)
