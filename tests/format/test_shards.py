"""Shards are read as they were written, by this package and by other readers."""

import io
import pickle
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

import shardwright
from shardwright import (
    Manifest,
    ShardDataset,
    encode_shard,
    write_manifest,
    write_shard,
    write_split,
)
from tests.support.shard_samples import (
    SMALL_FIELDS,
    Written,
    assert_same_arrays,
    make_samples,
    read_tree,
    read_value,
    splits,
    write_samples,
    write_small,
)

pytestmark = pytest.mark.slow


@given(splits(), st.integers(1, 5))
@settings(max_examples=40)
def test_samples_are_read_as_they_were_written(written: Written, samples_per_shard: int) -> None:
    with tempfile.TemporaryDirectory() as root:
        write_samples(Path(root), written, samples_per_shard)
        with ShardDataset(root, "train") as data:
            assert list(data.fields.items()) == list(written.fields.items())
            assert len(data) == len(written.samples)
            for n, expected in enumerate(written.samples):
                found = data[n]
                assert found.keys() == {"key", *written.fields}
                assert found["key"] == expected.key
                assert_same_arrays(found, expected.arrays)
                assert data.meta(n) == expected.meta
            order = list(range(len(data)))[::-1]
            batch = data.gather(order)
            assert batch["key"] == [written.samples[n].key for n in order]
            for name, field in written.fields.items():
                assert batch[name].shape == (len(order), *field.shape)
                for row, n in enumerate(order):
                    np.testing.assert_array_equal(batch[name][row], read_value(written.samples[n].arrays[name]))


@given(splits(max_samples=6), st.integers(1, 5))
@settings(max_examples=15)
def test_the_same_samples_give_the_same_bytes(written: Written, samples_per_shard: int) -> None:
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        write_samples(Path(one), written, samples_per_shard)
        write_samples(Path(other), written, samples_per_shard)
        assert read_tree(Path(one)) == read_tree(Path(other))


@given(splits(max_samples=6))
@settings(max_examples=15)
def test_a_shard_is_a_strided_array_or_has_the_offsets_that_tar_lists(written: Written) -> None:
    shard = encode_shard(written.fields, written.samples)
    data = b"".join(shard.chunks())
    assert len(data) == shard.size
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        with tarfile.open(file.name) as archive:
            members = archive.getmembers()
    suffixes = [*(f"{n}.{'jpg' if f.encoding == 'jpeg' else 'npy'}" for n, f in written.fields.items()), "meta.json"]
    assert [m.name for m in members] == [f"{s.key}.{suffix}" for s in written.samples for suffix in suffixes]
    assert all((m.mtime, m.uid, m.gid, m.mode, m.type) == (0, 0, 0, 0o644, tarfile.REGTYPE) for m in members)
    assert all(member.offset_data % 64 == 0 for member in members)
    stride = (len(data) - 1024) // max(1, len(written.samples))
    varying = [member for member, suffix in enumerate(suffixes) if suffix.endswith("jpg")]
    for n, row in enumerate(shard.index):
        sample = members[n * len(suffixes) : (n + 1) * len(suffixes)]
        if varying:
            sizes = [sample[member].size for member in varying]
            assert (row["offset"], row["size"].tolist()) == (sample[0].offset, sizes)
        else:
            assert [m.offset_data - n * stride for m in sample] == [m.offset_data for m in members[: len(sample)]]
            assert shard.index.dtype.names == ("key", "crc32")


def test_the_command_tar_lists_a_shard(tmp_path: Path) -> None:
    samples = write_small(tmp_path)
    listed = subprocess.run(
        ["tar", "tf", tmp_path / "train" / "train-000000.tar"], check=True, capture_output=True, text=True
    )
    suffixes = ("image.npy", "mfcc.npy", "label.npy", "meta.json")
    assert listed.stdout.split() == [f"{s.key}.{suffix}" for s in samples[:6] for suffix in suffixes]


@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")  # webdataset does not close its files
def test_webdataset_reads_every_member(tmp_path: Path) -> None:
    write_small(tmp_path)
    data = ShardDataset(tmp_path, "train")
    urls = [str(path) for path in sorted((tmp_path / "train").glob("*.tar"))]
    found = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert [sample["__key__"] for sample in found] == [data[n]["key"] for n in range(len(data))]
    for n, sample in enumerate(found):
        members = {name for name in sample if not name.startswith("__")}
        assert members == {"image.npy", "mfcc.npy", "label.npy", "meta.json"}
        assert_same_arrays({name: sample[f"{name}.npy"] for name in data.fields}, {f: data[n][f] for f in data.fields})
        assert sample["meta.json"] == data.meta(n)


def test_numpy_reads_a_member_and_the_index(tmp_path: Path) -> None:
    samples = write_small(tmp_path)
    with tarfile.open(tmp_path / "train" / "train-000000.tar") as archive:
        member = archive.extractfile(f"{samples[1].key}.mfcc.npy")
        assert member is not None
        array = np.load(io.BytesIO(member.read()), allow_pickle=False)
    np.testing.assert_array_equal(array, samples[1].arrays["mfcc"])
    index = np.load(tmp_path / "train" / "train-000001.index.npy", allow_pickle=False)
    assert index["key"].tolist() == [sample.key.encode() for sample in samples[6:12]]
    assert index["crc32"].shape == (6, len(SMALL_FIELDS) + 1)


@pytest.mark.parametrize(("count", "shards"), [(0, 0), (1, 1), (5, 1), (6, 1), (7, 2), (12, 2)])
def test_samples_fill_shards(tmp_path: Path, count: int, shards: int) -> None:
    write_small(tmp_path, count)
    assert len(list((tmp_path / "train").glob("*.tar"))) == shards
    data = ShardDataset(tmp_path, "train")
    assert len(data) == count
    assert data.gather([])["image"].shape == (0, 5, 7, 3)


def test_empty_shards_are_skipped(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    samples = make_samples(4)
    batches = [[], samples[:1], [], [], samples[1:], []]
    shards = [write_shard(folder / f"{n}.tar", SMALL_FIELDS, batch) for n, batch in enumerate(batches)]
    write_manifest(tmp_path, Manifest(SMALL_FIELDS, {"train": write_split(folder, SMALL_FIELDS, shards)}))
    data = ShardDataset(tmp_path, "train")
    assert [sample["key"] for sample in data] == [sample.key for sample in samples]
    assert [data.find_shard(n) for n in range(4)] == ["1.tar", "4.tar", "4.tar", "4.tar"]


def test_indices(tmp_path: Path) -> None:
    samples = write_small(tmp_path)
    data = ShardDataset(tmp_path, "train")
    assert data[-1]["key"] == samples[-1].key
    assert data.meta(-20) == samples[0].meta
    assert data.find_sample(samples[7].key) == 7
    for index in (20, -21):
        with pytest.raises(IndexError, match=rf"index {index} is out of range .* has 20 samples"):
            data[index]
    with pytest.raises(TypeError):
        data[1.5]  # type: ignore[index]  # is refused
    with pytest.raises(KeyError, match="no sample 'x'"):
        data.find_sample("x")
    with pytest.raises(KeyError, match=r"no split 'test', there are \['train'\]"):
        ShardDataset(tmp_path, "test")


def test_delivered_arrays_belong_to_the_caller(tmp_path: Path) -> None:
    samples = write_small(tmp_path)
    data = ShardDataset(tmp_path, "train")
    sample, batch = data[0], data.gather([0, 0])
    sample["image"][...] = 0
    batch["image"][0] = 1
    assert_same_arrays(data[0], samples[0].arrays)
    np.testing.assert_array_equal(batch["image"][1], samples[0].arrays["image"])
    data.close()
    assert_same_arrays({"mfcc": sample["mfcc"]}, {"mfcc": samples[0].arrays["mfcc"]})
    with pytest.raises(ValueError, match="closed"):
        data[0]


def test_a_pickled_dataset_opens_its_files_again(tmp_path: Path) -> None:
    samples = write_small(tmp_path)
    with ShardDataset(tmp_path, "train") as data:
        pickled = pickle.dumps(data)
    assert_same_arrays(pickle.loads(pickled)[3], samples[3].arrays)


def test_it_works_as_a_dataset_of_pytorch(tmp_path: Path) -> None:
    samples = write_small(tmp_path, 8)
    loader: Any = torch.utils.data.DataLoader(ShardDataset(tmp_path, "train"), batch_size=4)  # type: ignore[arg-type]
    # by its methods
    batches = list(loader)
    assert [key for batch in batches for key in batch["key"]] == [sample.key for sample in samples]
    assert batches[0]["image"].shape == (4, 5, 7, 3)


def test_opening_many_shards_takes_no_descriptors(tmp_path: Path) -> None:
    write_small(tmp_path, 30, samples_per_shard=1)
    before = len(list(Path("/proc/self/fd").iterdir()))
    data = ShardDataset(tmp_path, "train")
    data.gather(range(30))
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 1


def test_importing_one_name_imports_only_its_module() -> None:
    code = "import sys, shardwright.format.tar; print('numpy' in sys.modules, 'torch' in sys.modules)"
    code += "; from shardwright import ShardDataset, Loader, verify; print('torch' in sys.modules)"
    code += "; import shardwright.format.verify; from shardwright import verify; print(callable(verify))"
    checkout = Path(shardwright.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=checkout)
    output = run.stdout
    assert output.split() == ["False", "False", "False", "True"]


def test_every_exported_name_is_there() -> None:
    assert sorted(dir(shardwright)) == sorted(shardwright.__all__)
    assert all(getattr(shardwright, name).__name__ == name for name in shardwright.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        shardwright.nothing  # noqa: B018  # the access is the test


def test_the_example_of_the_format_page_runs(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "shard_format.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {"root": tmp_path})
    data = ShardDataset(tmp_path, "train")
    assert [(sample["key"], int(sample["label"])) for sample in data] == [("key-0", 0), ("key-1", 1)]
