"""Forged datasets, in which every hash is right, are checked and cannot do harm."""

import hashlib
import io
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardwright import (
    DamageError,
    Field,
    FileRecord,
    FormatError,
    Manifest,
    ShardDataset,
    ShardwrightError,
    ShardWriter,
    read_manifest,
    verify,
    write_manifest,
)
from shardwright.cli.main import main
from shardwright.format.canonical_json import decode_json, encode_canonical, hash_canonical
from shardwright.format.layout import plan_layout
from tests.support.old_sets import make_old
from tests.support.shard_samples import write_small

pytestmark = pytest.mark.slow

FIELDS = {"level": Field("int8", (200,)), "label": Field("int64", ())}


def write_levels(root: Path, keys: str, split: str = "train") -> Path:
    with ShardWriter(root, split, FIELDS) as writer:
        for number, key in enumerate(keys):
            writer.write(key, {"level": np.full(200, -1 - number, np.int8), "label": number})
    return root


def rewrite(root: Path, **changes: Any) -> None:
    """Change the manifest and its hash."""
    write_manifest(root, replace(read_manifest(root), **changes))


def store(root: Path, document: dict[str, Any]) -> None:
    """Write a document that `Manifest` does not allow, with a matching hash."""
    (root / "dataset.json").write_bytes(encode_canonical(document | {"hash": hash_canonical(document)}))


INDEX = "train/train-000000.index.npy"


def replace_index(root: Path, content: bytes) -> None:
    """Replace the index of the first shard, or that of an older split, with the right sha256."""
    split, sha256 = read_manifest(root).splits["train"], hashlib.sha256(content).hexdigest()
    if split.index is not None:
        (root / "train/index.npy").write_bytes(content)
        rewrite(root, splits={"train": replace(split, index=FileRecord("index.npy", sha256))})
    else:
        (root / INDEX).write_bytes(content)
        rewrite(root, splits={"train": replace(split, shards=(replace(split.shards[0], index_sha256=sha256),))})


def test_two_splits_may_have_the_same_keys(tmp_path: Path) -> None:
    write_levels(tmp_path, "abc")
    write_levels(tmp_path, "abd", split="val")
    assert verify(tmp_path).ok


@pytest.mark.parametrize("field", [Field("uint8", (200,)), Field("int8", (20, 10)), Field("bool", (200,))])
def test_a_field_that_differs_from_the_shards(tmp_path: Path, field: Field) -> None:
    rewrite(write_levels(tmp_path, "ab"), fields=FIELDS | {"level": field})
    assert {problem.sample for problem in verify(tmp_path).problems} == {"a", "b"}
    with (
        ShardDataset(tmp_path, "train") as data,
        pytest.raises(DamageError, match="NPY header does not match the field") as error,
    ):
        data[0]
    assert (error.value.sample, error.value.field, error.value.offset) == ("a", "level", 512)


def list_twice(document: dict[str, Any]) -> None:
    split = document["splits"]["train"]
    split["shards"] *= 2
    split["samples"] *= 2


def shard_of(document: dict[str, Any]) -> dict[str, Any]:
    shard: dict[str, Any] = document["splits"]["train"]["shards"][0]
    return shard


def enlarge_meta(document: dict[str, Any]) -> None:
    size = plan_layout(FIELDS, 10**30).count_shard_bytes(2)
    shard_of(document).update(meta_bytes=10**30, bytes=size)


EDITS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "shard above the folder": (
        lambda d: shard_of(d).update(name="../../secret"),
        "file name is '../../secret'; it must match",
    ),
    "absolute shard": (lambda d: shard_of(d).update(name="/etc/passwd"), "file name is '/etc/passwd'; it must"),
    "hidden shard": (lambda d: shard_of(d).update(name=".x"), "file name is '.x'; it must match"),
    "absolute index": (
        lambda d: d["splits"]["train"].update(index={"name": "/dev/zero", "sha256": "0" * 64}),
        "file name is '/dev/zero'; it must",
    ),
    "two indexes": (
        lambda d: d["splits"]["train"].update(index={"name": "index.npy", "sha256": "0" * 64}),
        "splits.train: shard train-000000.tar: it has one and its split has one too",
    ),
    "no index": (
        lambda d: shard_of(d).pop("index_sha256"),
        "splits.train: shard train-000000.tar: it has none and its split has none",
    ),
    "index hash that is none": (lambda d: shard_of(d).update(index_sha256="0"), "index_sha256 is '0'; it must be 64"),
    "a shard with the name of an index": (
        lambda d: d["splits"]["train"].update(
            samples=4, shards=[shard_of(d), shard_of(d) | {"name": "train-000000.index.npy"}]
        ),
        "file 'train-000000.index.npy' occurs twice",
    ),
    "vocabulary above": (
        lambda d: d.update(vocabulary={"name": "..", "sha256": "0" * 64}),
        "file name is '..'; it must match",
    ),
    "split above": (lambda d: d["splits"].update({"..": d["splits"]["train"]}), "split name is '..'; it must match"),
    "shard listed twice": (list_twice, "file 'train-000000.tar' occurs twice"),
    "class listed twice": (lambda d: d.update(classes=["a", "b", "a"]), "class 'a' occurs twice"),
    "classes in one word": (lambda d: d.update(classes="ab"), "classes is 'ab'"),
    "extract in one word": (lambda d: d.update(extract="image"), "extract is 'image'"),
    "statistics of one number": (
        lambda d: d.update(statistics={"level": {"mean": 1.0, "std": [1.0], "count": 1}}),
        "statistics.level.mean is 1.0",
    ),
    "object array": (lambda d: d["fields"][0].update(dtype="object"), "dtype is 'object'; it must be one of"),
    "endless array": (lambda d: d["fields"][0].update(shape=[10**4000] * 16), "too large for a tar member"),
    "endless meta": (enlarge_meta, "meta_bytes is 1"),
    "negative samples": (lambda d: shard_of(d).update(samples=-1), "samples is -1; it must be at least 0"),
    "deep": (lambda d: d.update(extract={"a": [[[[[]]]]] * 3, "b": float(10**300)}), ""),
}


@pytest.mark.parametrize("name", EDITS)
def test_an_invalid_manifest_is_refused(tmp_path: Path, name: str) -> None:
    edit, message = EDITS[name]
    document = read_manifest(write_levels(tmp_path, "ab")).to_json()
    edit(document)
    store(tmp_path, document)
    if not message:  # unusual, and allowed
        assert read_manifest(tmp_path).to_json() == document
        return
    with pytest.raises(FormatError) as error:
        ShardDataset(tmp_path, "train")
    assert message in str(error.value)
    assert len(str(error.value)) < 1000
    (problem,) = verify(tmp_path).problems
    assert (problem.shard, message in problem.what) == ("dataset.json", True)


def save(array: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def save_archive() -> bytes:
    file = io.BytesIO()
    np.savez(file, key=np.zeros(2))
    return file.getvalue()


INDEXES = {
    "pickled objects": save(np.array([object(), object()])),
    "an archive": save_archive(),
    "nothing": b"",
    "other columns": save(np.zeros(2, [("key", "S64")])),
    "other rows": save(np.zeros(3, [("key", "S64"), ("crc32", "<u4", (3,))])),
    "no array": b"\x80\x04\x95 a pickle",
}


@pytest.mark.parametrize("name", INDEXES)
@pytest.mark.parametrize("old", [False, True])
def test_an_index_is_compared_and_not_parsed(tmp_path: Path, name: str, old: bool) -> None:
    write_levels(tmp_path, "ab")
    if old:
        make_old(tmp_path)
    replace_index(tmp_path, INDEXES[name])
    with pytest.raises(DamageError, match="not the rows that the manifest describes"):
        ShardDataset(tmp_path, "train").gather([0])
    assert [problem.shard for problem in verify(tmp_path).problems] == ["train/index.npy" if old else INDEX]


def test_invalid_keys_in_an_index_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = (write_levels(tmp_path, "ab") / INDEX).read_bytes()
    replace_index(tmp_path, index.replace(b"a" + bytes(63), b"\xff\x1b[2J/../" + bytes(55)))
    (problem,) = verify(tmp_path).problems
    assert problem.what.startswith("the key must match")
    assert ShardDataset(tmp_path, "train")[0]["key"] == "\\xff\x1b[2J/../"
    assert main(["ls", str(tmp_path)]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "train/train-000000.tar/\\xff\\x1b[2J/../"
    assert main(["show", str(tmp_path), "\udcff"]) == 2


def test_a_terminal_with_another_encoding_is_no_error(tmp_path: Path) -> None:
    write_small(tmp_path, 1)
    rewrite(tmp_path, classes=("日本",))
    run = subprocess.run(
        [sys.executable, "-c", "import sys; from shardwright.cli.main import main; sys.exit(main())", "info", tmp_path],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
        cwd=Path(__file__).parents[2],
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert "classes 1: \\u65e5\\u672c" in run.stdout


def test_json_has_no_infinity() -> None:
    for text in (b"[1e999]", b"[-1e999]", b"[Infinity]", b"[NaN]", b"[" + b"9" * 5000 + b"]"):
        with pytest.raises(FormatError):
            decode_json(text)
    assert decode_json(b"[1e300, 1E-999, 3]") == [1e300, 0.0, 3]


@pytest.mark.parametrize("indices", [np.array([0.9]), [True, False], [[0]], np.zeros(2, bool), ["a"]])
def test_gather_refuses_other_types_than_integers(tmp_path: Path, indices: Any) -> None:
    data = ShardDataset(write_levels(tmp_path, "ab"), "train")
    with pytest.raises(TypeError, match="they must be a list or 1-d array of integers"):
        data.gather(indices)


def test_an_empty_split_of_large_arrays_has_empty_batches(tmp_path: Path) -> None:
    with ShardWriter(tmp_path, "train", {"image": Field("uint8", (224, 224, 3))}):
        pass
    assert ShardDataset(tmp_path, "train").gather([])["image"].shape == (0, 224, 224, 3)


def test_the_sources_of_a_manifest_have_a_separate_hash(tmp_path: Path) -> None:
    write_small(tmp_path, 1)
    manifest = read_manifest(tmp_path)
    source = {"source": "s", "licence": "l", "attribution": "a", "samples": 1}
    named = Manifest.from_json(manifest.to_json() | {"sources": [source]})
    assert named.hashes == {"hash": manifest.hash, "sources_hash": hash_canonical([source])}
    assert list(manifest.hashes) == ["hash"]
    document = named.to_json() | {"hash": named.hash}
    (tmp_path / "dataset.json").write_bytes(encode_canonical(document))
    with pytest.raises(ShardwrightError, match="hash is None"):
        read_manifest(tmp_path)
