"""No damage reaches a batch: it is reported before, or is outside of the bytes read and `verify` reports it."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from shardwright import (
    Field,
    FileRecord,
    FormatError,
    Loader,
    ShardDataset,
    ShardwrightError,
    read_manifest,
    verify,
    write_manifest,
)
from shardwright.format.canonical_json import hash_canonical
from shardwright.format.walk_shard import hash_file
from tests.support.loader.sets import BLOCKS, ORDERS, flip_bit
from tests.support.old_sets import make_old
from tests.support.shard_samples import KINDS as SHARDS
from tests.support.shard_samples import SMALL_FIELDS, Written, make_samples, write_samples, write_small

pytestmark = pytest.mark.slow

COUNT, BATCH, PER_SHARD = 20, 3, 6
FORMS = [(kind, old) for kind in SHARDS for old in (False, True)]
"""Kinds of fields, each as it is written, and as versions 1 and 2 were."""
Kind = Literal["shard", "index", "manifest", "vocabulary"]
KINDS: dict[Kind, int] = {"shard": 60, "index": 20, "manifest": 15, "vocabulary": 5}
"""The kinds of files to damage, and how often in a hundred."""
Finding = Literal["opening", "reading", "outside"]
"""Where damage is reported: at opening; in reading, before the sample is delivered; or by `verify`, outside of both."""


@dataclass(frozen=True)
class Originals:
    """A dataset, and the content of its split `train`."""

    fields: Mapping[str, Field]
    old: bool
    root: Path
    arrays: dict[str, Any]
    metas: list[dict[str, Any]]


def write_set(root: Path, fields: Mapping[str, Field], old: bool) -> None:
    write_small(root, COUNT, fields=fields)
    write_small(root, 7, split="val", fields=fields)
    (root / "vocabulary.json").write_text(json.dumps([f"word {n}" for n in range(30)]))
    record = FileRecord("vocabulary.json", hash_file(root / "vocabulary.json"))
    write_manifest(root, replace(read_manifest(root), vocabulary=record))
    if old:
        make_old(root)


@pytest.fixture(scope="module", params=FORMS, ids=[f"{'old ' if old else ''}{kind}" for kind, old in FORMS])
def originals(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Originals:
    kind, old = request.param
    root, fields = tmp_path_factory.mktemp("intact"), SHARDS[kind]
    write_set(root, fields, old)
    with ShardDataset(root, "train") as data:
        return Originals(fields, old, root, data.gather(range(COUNT)), [data.meta(n) for n in range(COUNT)])


@pytest.fixture(scope="module")
def scratch(originals: Originals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy to damage in one place and to repair, many times."""
    return Path(shutil.copytree(originals.root, tmp_path_factory.mktemp("scratch") / "copy"))


def read_all(data: ShardDataset, rng: random.Random, originals: Originals) -> None:
    """Read an epoch in any way, and then the metas; fail where a value is not the original.

    Raises:
        ShardwrightError: an error of the loader.
    """
    threads = rng.choice([0, 0, 0, 1, 2])
    count = 0
    for batch in Loader(
        data, BATCH, shuffle=rng.choice(ORDERS), seed=rng.random() > 0.5, threads=threads, blocks=BLOCKS
    ):
        rows = [originals.arrays["key"].index(key) for key in batch["key"]]
        count += len(rows)
        for name in SMALL_FIELDS:
            np.testing.assert_array_equal(batch[name].numpy(), originals.arrays[name][rows])
    assert count == COUNT
    if rng.random() < 0.5:
        for row in range(COUNT):
            assert data.meta(row) == originals.metas[row]


def open_and_read(root: Path, rng: random.Random, originals: Originals) -> None:
    with ShardDataset(root, "train") as data:
        read_all(data, rng, originals)


def find(root: Path, rng: random.Random, originals: Originals) -> Finding | None:
    """Return where it is reported that a dataset is not the original, or None."""
    try:
        data = ShardDataset(root, "train", access=rng.choice(["map", "pread"]))
    except ShardwrightError:
        return "opening"
    with data:
        try:
            read_all(data, rng, originals)
        except ShardwrightError:
            return "reading"
    return None if verify(root).ok else "outside"


def choose_file(root: Path, rng: random.Random) -> tuple[Kind, Path]:
    (kind,) = rng.choices(list(KINDS), list(KINDS.values()))
    patterns = {
        "shard": "*/*.tar",
        "index": "*/*index.npy",
        "manifest": "dataset.json",
        "vocabulary": "vocabulary.json",
    }
    return kind, rng.choice(sorted(root.glob(patterns[kind])))


def damage_and_find(
    scratch: Path, originals: Originals, rng: random.Random, damage: Callable[[Path], str]
) -> tuple[Kind, Finding]:
    """Damage a file, find where it is reported, repair it. `verify` must name the file in every case."""
    kind, path = choose_file(scratch, rng)
    content = path.read_bytes()
    try:
        what = damage(path)
        finding = find(scratch, rng, originals)
        assert finding is not None, f"{what} of {path} was not reported"
        named = {problem.shard for problem in verify(scratch).problems}
        assert str(path.relative_to(scratch)) in named, f"{what} of {path}: verify names {named}"
    finally:
        path.write_bytes(content)
    return kind, finding


def flip_any(rng: random.Random) -> Callable[[Path], str]:
    def flip(path: Path) -> str:
        bit = rng.randrange(8 * path.stat().st_size)
        flip_bit(path, bit)
        return f"bit {bit}"

    return flip


def cut_any(rng: random.Random) -> Callable[[Path], str]:
    """Cut a file at any byte, or between two blocks of a tar."""

    def cut(path: Path) -> str:
        size = path.stat().st_size
        rest = rng.randrange(size) if rng.random() < 0.5 else 512 * rng.randrange(-(-size // 512))
        path.write_bytes(path.read_bytes()[:rest])
        return f"a cut at {rest}"

    return cut


@pytest.mark.parametrize(("damage", "times"), [(flip_any, 60), (cut_any, 60)])
def test_damage_is_reported_before_it_is_used(
    scratch: Path, originals: Originals, damage: Callable[[random.Random], Callable[[Path], str]], times: int
) -> None:
    rng = random.Random(times)
    found = Counter(damage_and_find(scratch, originals, rng, damage(rng)) for _ in range(times))
    kinds = {kind for kind, _ in found}
    assert kinds == KINDS.keys()
    assert not found["index", "reading" if originals.old else "opening"]
    assert not found["manifest", "reading"]


def test_an_intact_dataset_raises_no_error(originals: Originals) -> None:
    rng = random.Random(0)
    for _ in range(20):
        assert find(originals.root, rng, originals) is None


@pytest.mark.sweep
def test_ten_thousand_flips_and_a_thousand_cuts(scratch: Path, originals: Originals) -> None:
    flips, cuts, opens = 10_000, 1_000, 10_000
    rng = random.Random(2024)
    rows = []
    for name, times, damage in (("one bit flipped", flips, flip_any), ("cut", cuts, cut_any)):
        found = Counter(damage_and_find(scratch, originals, rng, damage(rng)) for _ in range(times))
        for kind in KINDS:
            numbers = [found[kind, finding] for finding in ("opening", "reading", "outside")]
            rows.append((name, kind, sum(numbers), *numbers, 0))
    for _ in range(opens):
        assert find(originals.root, rng, originals) is None
    print("\n| what | where | times | reported at opening | by reading | not read, reported by verify | missed |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        print("|", " | ".join(map(str, row)), "|")
    print(f"\n{opens} times the intact dataset was opened, read and verified: 0 errors.")


@dataclass(frozen=True)
class Fault:
    """A fault of a dataset: its cause, when it is reported, and words of the message.

    "with the index" is in reading, or at opening where the split has one index for all shards.
    """

    cause: Callable[[Path, Path], object]
    when: Literal["opening", "reading", "never", "with the index"]
    words: tuple[str, ...] = ()


def rename(path: Path, name: str) -> Path:
    return path.rename(path.with_name(name))


def swap(one: Path, other: Path) -> None:
    aside = rename(one, "aside")
    other.rename(one)
    aside.rename(other)


def edit(path: Path, change: Callable[[dict[str, Any]], object], rehash: bool = False) -> None:
    """Change the manifest; with `rehash`, update its hash."""
    document = json.loads(path.read_text())
    change(document)
    if rehash:
        del document["hash"]
        document["hash"] = hash_canonical({k: v for k, v in document.items() if k not in ("sources", "sources_hash")})
    path.write_text(json.dumps(document))


def drop_last_shard(document: dict[str, Any]) -> None:
    split = document["splits"]["train"]
    split["samples"] -= split["shards"].pop()["samples"]


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def move_folder(source: Path, target: Path) -> None:
    shutil.rmtree(target)
    shutil.copytree(source, target)


SECOND, THIRD = "train/train-000001.tar", "train/train-000002.tar"
MANIFEST = "dataset.json"


def find_index(root: Path, split: str = "train") -> Path:
    """Return the index of a split, or that of its second or only shard."""
    return sorted((root / split).glob("*index.npy"))[:2][-1]


FAULTS = {
    "shard missing": Fault(lambda r, _: (r / SECOND).unlink(), "opening", ("train-000001.tar", "missing")),
    "shard renamed": Fault(lambda r, _: rename(r / SECOND, "a.tar"), "opening", ("train-000001.tar", "missing")),
    "shards swapped": Fault(lambda r, _: swap(r / SECOND, r / THIRD), "reading", ("train-00000", "crc32")),
    "shard copied over another": Fault(lambda r, _: shutil.copy(r / SECOND, r / THIRD), "reading", ("train-000002",)),
    "shard of another split": Fault(
        lambda r, _: shutil.copy(r / "val/val-000000.tar", r / SECOND), "reading", ("train-000001.tar", "crc32")
    ),
    "shard of an older build": Fault(
        lambda r, old: shutil.copy(old / SECOND, r / SECOND), "reading", ("train-000001.tar", "crc32")
    ),
    "shard of another length": Fault(
        lambda r, old: shutil.copy(r / "train/train-000003.tar", r / SECOND), "opening", ("train-000001.tar", "bytes")
    ),
    "extra shard": Fault(lambda r, _: shutil.copy(r / SECOND, r / "train/train-000004.tar"), "never"),
    "extra split": Fault(lambda r, _: shutil.copytree(r / "val", r / "test"), "never"),
    "folder instead of a shard": Fault(
        lambda r, _: put_folder(r / SECOND), "opening", ("train-000001.tar", "not a file")
    ),
    "index missing": Fault(lambda r, _: find_index(r).unlink(), "with the index", ("index.npy", "missing")),
    "index of another split": Fault(
        lambda r, _: shutil.copy(find_index(r, "val"), find_index(r)), "with the index", ("index.npy",)
    ),
    "index of an older build": Fault(
        lambda r, old: shutil.copy(find_index(old), find_index(r)), "with the index", ("index.npy", "sha256")
    ),
    "split of an older build": Fault(
        lambda r, old: move_folder(old / "train", r / "train"), "with the index", ("index.npy", "sha256")
    ),
    "manifest of an older build": Fault(
        lambda r, old: shutil.copy(old / MANIFEST, r / MANIFEST), "with the index", ("index.npy", "sha256")
    ),
    "manifest missing": Fault(lambda r, _: (r / MANIFEST).unlink(), "opening", ("dataset.json",)),
    "manifest cut": Fault(
        lambda r, _: (r / MANIFEST).write_text((r / MANIFEST).read_text()[:300]), "opening", ("dataset.json", "JSON")
    ),
    "manifest edited": Fault(
        lambda r, _: edit(r / MANIFEST, lambda d: d["fields"][0].update(unit="m")),
        "opening",
        ("hash is", "that of its content is"),
    ),
    "manifest of a newer version": Fault(
        lambda r, _: edit(r / MANIFEST, lambda d: d.update(version=4), rehash=True),
        "opening",
        ("version is 4; this release reads",),
    ),
    "manifest of the other version": Fault(
        lambda r, _: edit(r / MANIFEST, lambda d: d.update(version=d["version"] % 3 + 1), rehash=True),
        "opening",
        ("with these splits and fields it must be",),
    ),
    "manifest of a later release with another key": Fault(
        lambda r, _: edit(r / MANIFEST, lambda d: d.update(more=1), rehash=True), "opening", ("dataset.json", "more")
    ),
    "manifest formatted otherwise": Fault(lambda r, _: edit(r / MANIFEST, lambda d: None), "never"),
}


@pytest.fixture(scope="module")
def older(originals: Originals, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same keys and metas with other values, as an earlier build."""
    root, fields = tmp_path_factory.mktemp("older"), originals.fields
    write_set(root, fields, old=False)
    shutil.rmtree(root / "train")
    (root / MANIFEST).unlink()
    samples = make_samples(COUNT, "train", fields)
    others = [replace(one, arrays=other.arrays) for one, other in zip(samples, reversed(samples), strict=True)]
    write_samples(root, Written(fields, others), PER_SHARD)
    return make_old(root) if originals.old else root


@pytest.fixture
def copy(originals: Originals, tmp_path: Path) -> Path:
    return Path(shutil.copytree(originals.root, tmp_path / "copy"))


@pytest.mark.parametrize("name", FAULTS)
def test_files_that_are_not_those_of_the_manifest(copy: Path, older: Path, originals: Originals, name: str) -> None:
    fault = FAULTS[name]
    fault.cause(copy, older)
    rng = random.Random(name)
    words, when = fault.words, fault.when
    if when == "with the index":
        when, words = ("opening", words) if originals.old else ("reading", ("train-0000", *words))
    if when == "opening":
        with pytest.raises((ShardwrightError, FileNotFoundError)) as caught:
            ShardDataset(copy, "train")
    elif when == "reading":
        with pytest.raises(ShardwrightError) as caught:
            open_and_read(copy, rng, originals)
        if originals.fields is not SMALL_FIELDS:  # shards with images differ in size: opening may notice
            words = words[:1]
    else:
        open_and_read(copy, rng, originals)
    if when != "never":
        assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not verify(copy).ok


def test_a_forged_manifest_without_one_shard(copy: Path, originals: Originals) -> None:
    """Its hash is right: where the index is not that of all shards, it describes a smaller dataset with other files."""
    edit(copy / MANIFEST, drop_last_shard, rehash=True)
    if originals.old:
        with pytest.raises(ShardwrightError, match=r"index\.npy.* 18 of"):
            ShardDataset(copy, "train")
    else:
        assert len(ShardDataset(copy, "train")) == 18
    named = {problem.shard for problem in verify(copy).problems}
    last = {"train/index.npy"} if originals.old else {"train/train-000003.index.npy"}
    assert named == last | {"train/train-000003.tar", MANIFEST}


def test_a_newer_manifest_is_not_reported_as_damage(copy: Path) -> None:
    """Its reader needs a newer release, not a backup."""
    edit(copy / MANIFEST, lambda document: document.update(version=4), rehash=True)
    with pytest.raises(FormatError, match="this release reads versions up to"):
        ShardDataset(copy, "train")
