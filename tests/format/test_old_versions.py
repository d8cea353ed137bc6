"""Datasets of format versions 1 and 2 are read as before, and version 3 stores the same tars."""

import hashlib
import pickle
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shardwright import DamageError, Field, Loader, ShardDataset, ShardWriter, read_manifest, verify
from shardwright.cli.main import main
from shardwright.format.index import read_shard_index
from shardwright.loading.window_reader import Blocks
from shardwright.remote.location import Access
from tests.support.access_files import access_ways
from tests.support.loader.sets import flip_bit
from tests.support.old_sets import hash_tree, make_old
from tests.support.shard_samples import KINDS, SMALL_FIELDS, assert_same_arrays, read_tree, write_small

JPEG = b"\xff\xd8\xff\xc0\x00\x11\x08\x00\x05\x00\x07" + bytes(range(10))
"""The start of a file of 5 × 7 pixels that has no pixels: the same bytes with every codec."""
FIXED_FIELDS = {"level": Field("float32", (4, 6), axes="CT", padding=0.0), "label": Field("int64", ())}
FIXED = {
    "arrays": FIXED_FIELDS,
    "images": {"image": Field("uint8", (5, 7, 3), axes="HWC", encoding="jpeg")} | FIXED_FIELDS,
}
WRITTEN_BEFORE = {
    "arrays": (
        1,
        "a42b2042cb9f75f05673e0029f795432d23b46b3641d3c050141e8840cedf664",
        "cf203a3778ca4f466e7134a761b70a9e129f88824bd798413e9f0741888c4863",
    ),
    "images": (
        2,
        "3183af46aa7e104cf81f16b5709a81f38314d46a56034fa0b136ad826998a83a",
        "4209bc70dcd888ff0690d02baf4828dda21840ebee8e88a06bf243ff64af14d7",
    ),
}
"""What the release before version 3 wrote from the same samples: version, dataset hash, hash of names and bytes."""


def write_fixed(root: Path, kind: str) -> Path:
    for split, count in (("train", 8), ("val", 2)):
        with ShardWriter(root, split, FIXED[kind], 3, classes=["a", "b"]) as writer:
            for n in range(count):
                arrays = {"level": np.arange(n, n + 24, dtype=np.float32).reshape(4, 6), "label": n % 2}
                if kind == "images":
                    arrays["image"] = JPEG + bytes([n]) * 100 * n + b"\xff\xd9"
                writer.write(f"{split}-{n}", arrays, {"n": n, "caption": "é" * n})
    return root


@pytest.mark.parametrize("kind", FIXED)
def test_tars_are_those_of_the_releases_before_and_only_index_and_manifest_differ(tmp_path: Path, kind: str) -> None:
    root = write_fixed(tmp_path, kind)
    new = read_tree(root)
    assert read_manifest(root).version == 3
    old = read_tree(make_old(root))
    manifest = read_manifest(root)
    assert (manifest.version, manifest.hash, hash_tree(root)) == WRITTEN_BEFORE[kind]
    tars = {name: content for name, content in new.items() if name.endswith(".tar")}
    assert len(tars) == 4
    assert tars == {name: content for name, content in old.items() if name.endswith(".tar")}
    assert new.keys() - old.keys() == {f"{name.removesuffix('.tar')}.index.npy" for name in tars}
    assert old.keys() - new.keys() == {"train/index.npy", "val/index.npy"}


@pytest.mark.parametrize("kind", KINDS)
def test_every_member_is_equal_in_both_forms(tmp_path: Path, kind: str) -> None:
    for form in ("new", "old"):
        write_small(tmp_path / form, fields=KINDS[kind])
    make_old(tmp_path / "old")
    for path in sorted((tmp_path / "new/train").glob("*.tar")):
        with tarfile.open(path) as new, tarfile.open(tmp_path / "old/train" / path.name) as old:
            members = [[(m.name, m.offset_data, t.extractfile(m).read()) for m in t] for t in (new, old)]  # type: ignore[union-attr]
        assert members[0] == members[1]


@access_ways
@pytest.mark.parametrize("kind", KINDS)
def test_both_forms_give_the_same_samples(tmp_path: Path, kind: str, access: Access) -> None:
    new = write_small(tmp_path / "new", fields=KINDS[kind])
    write_small(tmp_path / "old", fields=KINDS[kind])
    make_old(tmp_path / "old")
    with (
        ShardDataset(tmp_path / "new", "train", access=access) as data,
        ShardDataset(tmp_path / "old", "train", access=access) as older,
    ):
        assert data.hash != older.hash
        assert len(data) == len(older) == len(new)
        for one, other, sample in zip(data, older, new, strict=True):
            assert one["key"] == other["key"] == sample.key
            assert_same_arrays(one, sample.arrays)
            assert_same_arrays(other, sample.arrays)
        assert data.keys.tolist() == older.keys.tolist()
        for shuffle in (True, "none"):
            orders = [[key for batch in Loader(d, 3, shuffle=shuffle) for key in batch["key"]] for d in (data, older)]
            assert orders[0] == orders[1]
        if kind == "arrays":
            assert data.cut_blocks(9000).tolist() == older.cut_blocks(9000).tolist()


def test_a_split_is_added_to_an_older_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_small(tmp_path)
    make_old(tmp_path)
    before = read_tree(tmp_path / "train")
    write_small(tmp_path, 7, split="val")
    manifest = read_manifest(tmp_path)
    assert manifest.version == 3
    assert (manifest.splits["train"].index is None, manifest.splits["val"].index) == (False, None)
    assert read_tree(tmp_path / "train") == before
    assert verify(tmp_path).ok
    for split, count in (("train", 20), ("val", 7)):
        with ShardDataset(tmp_path, split) as data:
            assert len(list(data)) == count
            assert data.find_sample(f"{split}-003") == 3
    assert main(["ls", str(tmp_path)]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 27


def test_replacing_the_last_old_split_leaves_none_of_its_files(tmp_path: Path) -> None:
    write_small(tmp_path)
    make_old(tmp_path)
    with ShardWriter(tmp_path, "train", SMALL_FIELDS, overwrite=True):
        pass
    assert (read_manifest(tmp_path).version, verify(tmp_path).ok) == (3, True)
    assert list((tmp_path / "train").iterdir()) == []


def test_an_index_is_read_with_the_first_sample_of_its_shard_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_small(tmp_path)
    read: list[str] = []

    def note(folder: Path, fields: object, shard: object) -> object:
        read.append(shard.name)  # type: ignore[attr-defined]
        return read_shard_index(folder, fields, shard)  # type: ignore[arg-type]

    monkeypatch.setattr("shardwright.remote.location.read_shard_index", note)
    with ShardDataset(tmp_path, "train") as data:
        loader = Loader(data, 4, shuffle="block", blocks=Blocks(4096, 2))
        assert (len(data), len(loader), data.find_shard(7), read) == (20, 5, "train-000001.tar", [])
        data.gather([7, 8])
        data.meta(6)
        assert (data.find_key(11), read) == ("train-011", ["train-000001.tar"])
        assert len(list(loader)) == 5
        assert len(data.keys) == 20
        assert sorted(read) == [f"train-00000{n}.tar" for n in range(4)]
        read.clear()
        other = pickle.loads(pickle.dumps(data))
        assert not read
        assert other.find_sample("train-007") == 7
        assert read == ["train-000000.tar", "train-000001.tar"]
        assert other[7]["key"] == "train-007"
        assert read[2:] == ["train-000001.tar"], "what a search reads is not kept"


def test_threads_that_start_together_read_the_right_rows(tmp_path: Path) -> None:
    samples = write_small(tmp_path, 60, samples_per_shard=2)
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            barrier = threading.Barrier(8)
            with ShardDataset(tmp_path, "train") as data:

                def read(seed: int, data: ShardDataset = data, barrier: threading.Barrier = barrier) -> bool:
                    rows = np.random.default_rng(seed).permutation(60)
                    barrier.wait()
                    return bool(data.gather(rows)["key"] == [samples[row].key for row in rows])

                assert all(pool.map(read, [0, 0, 1, 1, 2, 2, 3, 3]))


@pytest.mark.parametrize("kind", KINDS)
@access_ways
def test_a_damaged_index_costs_the_samples_of_its_shard_only(tmp_path: Path, kind: str, access: Access) -> None:
    write_small(tmp_path, fields=KINDS[kind])
    path = tmp_path / "train/train-000001.index.npy"
    flip_bit(path, 8 * 200)
    others = [*range(6), *range(12, 20)]
    with ShardDataset(tmp_path, "train", access=access) as data:
        assert len(data.gather(others)["key"]) == 14
        with pytest.raises(
            DamageError, match=r"train-000001\.index\.npy: its sha256 is .*index of train-000001\.tar"
        ) as e:
            data.gather([0, 7])
        assert e.value.shard == "train-000001.tar"
        for shuffle in (True, "block", "none"):
            loader = Loader(data, 3, shuffle=shuffle, on_error="skip", blocks=Blocks(4096, 2))
            valid = [key for batch in loader for key, good in zip(batch["key"], batch["valid"], strict=True) if good]
            assert sorted(valid) == [f"train-{row:03d}" for row in others]
            assert {(skip.sample, skip.shard) for skip in loader.skipped} == {(None, "train-000001.tar")}


def test_many_shards_hold_no_descriptor_of_an_index(tmp_path: Path) -> None:
    write_small(tmp_path, 40, samples_per_shard=1)
    with ShardDataset(tmp_path, "train") as data:
        data.gather(range(40))
        held = [str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()]
        used = [*held, *Path("/proc/self/maps").read_text().splitlines()]
        mine = [name for name in used if str(tmp_path) in name]
        assert any(name.endswith(".tar") for name in mine)
        assert not any(name.endswith("index.npy") for name in mine)


def test_the_index_of_a_shard_is_named_after_it_and_hashed(tmp_path: Path) -> None:
    write_small(tmp_path)
    for shard in read_manifest(tmp_path).splits["train"].shards:
        assert shard.index_name == f"{shard.name.removesuffix('.tar')}.index.npy"
        content = (tmp_path / "train" / shard.index_name).read_bytes()
        assert hashlib.sha256(content).hexdigest() == shard.index_sha256
