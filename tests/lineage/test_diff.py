"""`shardwright diff` finds the samples that were added, removed, changed or moved, and explains why."""

import dataclasses
import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.lineage.diff.command import describe_difference
from pipeline.lineage.diff.command import run as diff
from pipeline.lineage.diff.compare import append_spaces, find_common
from pipeline.lineage.diff.differences import CauseCount, DatasetDiffer, Difference
from pipeline.lineage.diff.open_dataset import open_dataset
from pipeline.tables.contracts import SHARDS_FOLDER
from shardwright import Field, ShardWriter
from shardwright.format.canonical_json import decode_json, encode_canonical
from tests.support import factory_media
from tests.support.demo_run import CHANGES, Run
from tests.support.running import edit_params, run_stages

pytestmark = pytest.mark.slow


def compare(old: Path, new: Path, most: int | None = None) -> Difference:
    return DatasetDiffer(open_dataset(old), open_dataset(new), most).compare()


def list_keys(found: Difference) -> dict[str, set[str]]:
    groups = {"removed": found.removed, "added": found.added, "changed": found.changed, "moved": found.moved}
    return {name: {report.key for report in group.samples} for name, group in groups.items()}


def rerun(run: Run, folder: Path, since: str, **changes: Any) -> Path:
    """Run the demo again with other params, from the stage that they change."""
    shutil.copytree(run.folder, folder, ignore=shutil.ignore_patterns("inputs"))
    run_stages(edit_params(**{**CHANGES, **changes}), folder, until="extract", since=since)
    return folder / "data"


def test_a_run_and_itself_are_equal(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    for other in (run.data, run.data / SHARDS_FOLDER):
        found = compare(run.data, other)
        assert found.equal
        assert not found.recipe
        assert list_keys(found) == {"removed": set(), "added": set(), "changed": set(), "moved": set()}
        assert found.samples == (len(run.samples),) * 3
    assert diff([str(run.data), str(run.data)]) == 0
    assert capsys.readouterr().out.startswith(f"equal: {len(run.samples)} samples, dataset ")


def test_a_limit_of_clean_removes_the_samples_below_it(run: Run, tmp_path: Path) -> None:
    new = rerun(run, tmp_path / "new", "clean", clean__image__min_side=220)
    sides = {item["id"]: min(item["width"], item["height"]) for item in run.cleaned.values() if item["width"]}
    small = {sample["key"] for sample in run.samples if sides[sample["image"]] < 220}
    cause = "its image was dropped in clean: too_small (setting clean.image.min_side is 220)"
    assert small
    found = compare(run.data, new)
    assert list_keys(found)["removed"] == small
    assert found.removed.causes == [CauseCount(len(small), cause)]
    assert not found.added.count
    causes = {cause.text for cause in found.changed.causes if not cause.text.startswith("meta: another split in ")}
    assert causes == {"tokens: vocabulary changed"}  # and of few groups, others are in a split
    back = compare(new, run.data)
    assert list_keys(back)["added"] == small
    assert back.added.causes == [CauseCount(len(small), cause)]


def test_a_param_of_extract_changes_its_fields_alone(run: Run, tmp_path: Path) -> None:
    found = compare(run.data, rerun(run, tmp_path / "new", "extract", extract__audio__hop=128))
    assert list_keys(found)["changed"] == {sample["key"] for sample in run.samples}
    assert {report.text for report in found.changed.samples} == {"mfcc, mfcc_length"}
    assert all("extract.audio.hop: 256 -> 128" in cause.text for cause in found.changed.causes)
    assert [change.name for change in found.recipe if change.kind == "param"] == ["extract.audio.hop"]
    assert (found.removed.count, found.added.count, found.moved.count, found.resharded) == (0, 0, 0, 0)


def test_another_salt_moves_samples_and_more_shards_reshard_them(run: Run, tmp_path: Path) -> None:
    new = rerun(run, tmp_path / "new", "align", align__salt="1", extract__shards=8)
    found = compare(run.data, new)
    old_splits = {sample["key"]: sample["split"] for sample in run.samples}
    new_splits = {report.key: report.shard.split("/")[0] for report in compare(run.data, new).moved.samples}
    assert new_splits
    assert all(old_splits[key] != split for key, split in new_splits.items())
    assert [cause.count for cause in found.moved.causes] == [len(new_splits)]
    assert "align.salt" in found.moved.causes[0].text
    assert "meta: another split in" in " ".join(cause.text for cause in found.changed.causes)
    assert 0 < found.resharded <= len(old_splits) - len(new_splits)
    assert [change.name for change in found.recipe if change.kind == "param"] == ["extract.shards"]


NAMES = [f"{kind}/thing-{number}" for kind in ("bell", "owl") for number in range(6)]
ENDINGS = {"image": "png", "audio": "wav", "text": "txt"}


def make_file(name: str, modality: str, seed: int = 0) -> bytes:
    draw = zlib.crc32(f"{name} {seed}".encode())
    match modality:
        case "image":
            return factory_media.encode_png(factory_media.draw_scene(40, 50, draw))
        case "audio":
            return factory_media.encode_audio(factory_media.make_tone(8000, 0.3, seed=draw), 8000, "WAV")
    return f"the {name} of number {draw}".encode()


def write_inbox(root: Path, names: list[str]) -> None:
    for name in names:
        for modality, ending in ENDINGS.items():
            path = root / f"{name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(make_file(name, modality))


def run_inbox(folder: Path) -> Path:
    """Run a folder of files as far as the shards, aligned by their names; every word is unknown, so no edit changes the
    vocabulary."""
    rule = {"required": True, "part": None}
    rules = {
        modality: rule | {"pattern": rf"(?P<key>(?P<label>[^/]+)/.+)\.{ending}"} for modality, ending in ENDINGS.items()
    }
    blocks = edit_params(
        crawl__start=[],
        ingest__root=str(folder / "inbox"),
        align__by="pattern",
        align__label="path",
        align__modalities=rules,
        align__max_group=1.0,
        align__shares={"train": 1.0, "val": 0.0, "test": 0.0},  # of few groups each that comes or goes moves others
        extract__image__height=16,
        extract__image__width=16,
        extract__text__min_count=100,
        extract__text__min_known=0.0,
    )
    run_stages(blocks, folder, until="extract")
    shutil.rmtree(folder / "inputs")
    return folder / "data"


@pytest.fixture(scope="module")
def inbox(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inbox")
    write_inbox(folder / "inbox", NAMES)
    run_inbox(folder)
    return folder


def edit_inbox(inbox: Path, folder: Path, edit: Callable[[Path], None]) -> Difference:
    shutil.copytree(inbox, folder)
    edit(folder / "inbox")
    return compare(inbox / "data", run_inbox(folder))


def strip(keys: set[str]) -> set[str]:
    return {key.rpartition("-")[0] for key in keys}


def test_added_files_are_an_added_sample(inbox: Path, tmp_path: Path) -> None:
    found = edit_inbox(inbox, tmp_path / "new", lambda root: write_inbox(root, ["owl/new"]))
    assert {name: strip(keys) for name, keys in list_keys(found).items()} == {
        "removed": set(), "added": {"owl-new"}, "changed": set(), "moved": set(),
    }  # fmt: skip
    assert found.added.causes == [CauseCount(1, "its image is not in the input")]


def test_a_removed_file_is_a_removed_sample(inbox: Path, tmp_path: Path) -> None:
    found = edit_inbox(inbox, tmp_path / "new", lambda root: (root / "owl/thing-2.wav").unlink())
    assert {name: strip(keys) for name, keys in list_keys(found).items()} == {
        "removed": {"owl-thing-2"}, "added": set(), "changed": set(), "moved": set(),
    }  # fmt: skip
    assert found.removed.causes == [CauseCount(1, "its audio is not in the input")]


def test_a_broken_file_removes_its_sample_and_an_edited_one_changes_it(inbox: Path, tmp_path: Path) -> None:
    def edit(root: Path) -> None:
        (root / "bell/thing-1.png").write_bytes(make_file("bell/thing-1", "image")[:-20])
        (root / "owl/thing-3.png").write_bytes(make_file("owl/thing-3", "image", seed=1))
        (root / "owl/thing-4.txt").write_bytes(b"one, two, three, four, five")

    found = edit_inbox(inbox, tmp_path / "new", edit)
    assert {name: strip(keys) for name, keys in list_keys(found).items()} == {
        "removed": {"bell-thing-1"}, "added": set(), "changed": {"owl-thing-3", "owl-thing-4"}, "moved": set(),
    }  # fmt: skip
    assert found.removed.causes == [CauseCount(1, "its image was dropped in clean: truncated")]
    causes = {cause.text for cause in found.changed.causes}
    assert "image: other bytes of the image in 1" in causes
    assert "meta: other items in 2" in causes
    assert any(cause.startswith("tokens: other bytes of the text in 1") for cause in causes)


def test_the_record_names_code_and_libraries(inbox: Path, tmp_path: Path) -> None:
    shutil.copytree(inbox / "data", tmp_path / "data")
    path = tmp_path / "data/5_extract/extract_record.json"
    record = decode_json(path.read_bytes())
    libraries = record["libraries"] | {"numpy": "0.1"}
    path.write_bytes(encode_canonical(record | {"source": "0" * 64, "libraries": libraries}))
    found = compare(inbox / "data", tmp_path / "data")
    assert found.equal  # it made the same bytes
    assert [change.name for change in found.recipe] == ["code", "numpy"]
    described = "\n".join(describe_difference(found))
    assert "code changed" in described
    assert f"numpy: {record['libraries']['numpy']} -> 0.1" in described


FIELDS = {"n": Field("int64", ()), "m": Field("int32", (2,))}
SAMPLES = st.dictionaries(
    st.sampled_from([f"key-{number}" for number in range(12)]),
    st.tuples(st.sampled_from(["train", "val"]), st.integers(0, 2), st.integers(0, 1), st.text("ab", max_size=40)),
    min_size=1,
)
Contents = Mapping[str, tuple[str, int, int, str]]
"""By key: split, the values of both fields, and a caption in the meta."""


def make_arrays(n: int, m: int) -> dict[str, Any]:
    return {"n": np.array(n), "m": np.array([m, m], np.int32)}


def write_dataset(root: Path, things: Contents, samples_per_shard: int) -> None:
    shutil.rmtree(root, ignore_errors=True)
    for split in sorted({thing[0] for thing in things.values()}):
        with ShardWriter(root, split, FIELDS, samples_per_shard=samples_per_shard) as writer:
            for key, (_, n, m, caption) in sorted(things.items()):
                if things[key][0] == split:
                    writer.write(key, make_arrays(n, m), {"caption": caption})


@settings(max_examples=40)
@given(old=SAMPLES, new=SAMPLES, sizes=st.tuples(st.integers(1, 4), st.integers(1, 4)))
def test_differences_are_those_of_the_samples(
    old: Contents, new: Contents, sizes: tuple[int, int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    roots = [tmp_path_factory.getbasetemp() / name for name in ("diff-old", "diff-new")]
    for root, things, size in zip(roots, (old, new), sizes, strict=True):
        write_dataset(root, things, size)
    found = compare(roots[0], roots[1])
    both = old.keys() & new.keys()
    assert list_keys(found) == {
        "removed": set(old.keys() - new.keys()),
        "added": set(new.keys() - old.keys()),
        "changed": {key for key in both if old[key][1:] != new[key][1:]},
        "moved": {key for key in both if old[key][0] != new[key][0]},
    }
    fields = {report.key: report.text.split(", ") for report in found.changed.samples}
    for key, names in fields.items():
        changed = (name for name, a, b in zip(("n", "m", "meta"), old[key][1:], new[key][1:], strict=True) if a != b)
        assert names == list(changed)
    assert found.equal == (open_dataset(roots[0]).manifest.hash == open_dataset(roots[1]).manifest.hash)


@given(content=st.binary(max_size=50), count=st.integers(0, 5000))
def test_padding_does_not_count(content: bytes, count: int) -> None:
    crc32s = np.array([zlib.crc32(content), 0, 2**32 - 1], np.uint32)
    padded = append_spaces(crc32s, count)
    assert padded.dtype == np.uint32
    assert int(padded[0]) == zlib.crc32(content + b" " * count)
    assert padded.tolist() == [zlib.crc32(b" " * count, int(crc)) for crc in crc32s.tolist()]


@given(old=st.sets(st.binary(min_size=1, max_size=3)), new=st.sets(st.binary(min_size=1, max_size=3)))
def test_common_keys_are_found(old: set[bytes], new: set[bytes]) -> None:
    old, new = ({key for key in keys if not key.endswith(b"\0")} for keys in (old, new))  # NumPy drops these zeros
    arrays = [np.array(sorted(keys), "S64") for keys in (old, new)]
    left, right = find_common(*arrays)
    assert arrays[0][left].tolist() == arrays[1][right].tolist() == sorted(old & new)


def test_what_cannot_be_compared_is_an_error(inbox: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert diff([str(tmp_path), str(inbox / "data")]) == 2
    assert "has no dataset.json" in capsys.readouterr().err
    write_dataset(tmp_path / "repeated", {"a": ("train", 1, 1, "")}, 4)
    with ShardWriter(tmp_path / "repeated", "val", FIELDS) as writer:
        writer.write("a", make_arrays(1, 1), {})
    with pytest.raises(InputError, match="two samples with the key 'a'"):
        open_dataset(tmp_path / "repeated")
    index = next((tmp_path / "repeated" / "train").glob("*.npy"))
    index.write_bytes(index.read_bytes()[:-1] + b"?")
    assert diff([str(tmp_path / "repeated"), str(inbox / "data")]) == 2
    assert "sha256" in capsys.readouterr().err


def test_contents_cannot_control_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, classes in (("old", ["a\x1b[2J"]), ("new", ["\x9b31m\u202e"])):
        with ShardWriter(tmp_path / name, "train", FIELDS, classes=classes) as writer:
            writer.write("a", make_arrays(0, 1), {"caption": name})
    for flags in ([], ["--json"]):
        assert diff([str(tmp_path / "old"), str(tmp_path / "new"), *flags]) == 1
        output = capsys.readouterr().out
        assert all(character == "\n" or character.isprintable() for character in output)
    assert json.loads(output)["changed"]["count"] == 1


def test_lists_are_short_without_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_dataset(tmp_path / "old", {f"a-{number}": ("train", 1, 1, "") for number in range(40)}, 50)
    write_dataset(tmp_path / "new", {f"b-{number}": ("train", 1, 1, "") for number in range(40)}, 50)
    words = [str(tmp_path / "old"), str(tmp_path / "new")]
    assert diff(words) == 1
    assert "and 30 more, see --all" in capsys.readouterr().out
    assert diff([*words, "--all"]) == 1
    assert capsys.readouterr().out.count("the stage tables give no cause") == 2 * 41
    found = compare(tmp_path / "old", tmp_path / "new", most=10)
    assert dataclasses.asdict(found)["removed"]["count"] == 40
