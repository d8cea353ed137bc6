"""Comparing samples by blocks finds exactly the samples that comparing them one by one does."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardwright import Field, Sample, ShardWriter, verify, write_shard, write_split
from shardwright.format import tar
from shardwright.format.compare_block import encode_headers, find_suspects
from shardwright.format.encode import KEY
from shardwright.format.index import read_shard_index
from shardwright.format.layout import plan_layout
from shardwright.format.walk_shard import LARGE_SAMPLE, _compare_sample

FIELDS = {"image": Field("uint8", (5, 7, 3)), "n": Field("int64", ()), "exact": Field("uint8", (384,))}
"""The last member has no padding: its NPY header has 128 bytes."""


@given(
    st.lists(st.from_regex(r"[A-Za-z0-9_.-]{1,100}", fullmatch=True), min_size=1, max_size=20),
    st.integers(0, tar.MAX_MEMBER_BYTES),
)
def test_headers_are_those_of_single_names(names: list[str], size: int) -> None:
    found = encode_headers(np.array(names, np.bytes_), size)
    assert [header.tobytes() for header in found] == [tar.encode_header(name, size) for name in names]


def test_suspects_are_the_samples_that_differ(tmp_path: Path) -> None:
    """Any byte of any sample is flipped, and keys and checksums of the index too."""
    keys = ["a", "b-1", "K" * 64, "c_2"]
    values = {"image": np.zeros((5, 7, 3), np.uint8), "n": 3, "exact": np.zeros(384, np.uint8)}
    samples = [Sample(key, values, {"text": key}) for key in keys]
    split = write_split(tmp_path, FIELDS, [write_shard(tmp_path / "x.tar", FIELDS, samples)])
    record = split.shards[0]
    layout, index = plan_layout(FIELDS, record.meta_bytes), read_shard_index(tmp_path, FIELDS, record).copy()
    whole = np.frombuffer((tmp_path / "x.tar").read_bytes(), np.uint8, 4 * layout.stride).reshape(4, -1).copy()
    assert find_suspects(whole, layout, index).tolist() == []
    for at in range(0, whole.size, 3):
        whole.reshape(-1)[at] ^= 0x10
        found = find_suspects(whole, layout, index).tolist()
        assert found == [at // layout.stride]
        assert list(_compare_sample(whole[found[0]].tobytes(), index[found[0]], layout))
        whole.reshape(-1)[at] ^= 0x10
    for key in (b"", b"a b", b"a\0b", b"\xff", b"b-1", b"K" * 63):
        index["key"][2] = key
        assert find_suspects(whole, layout, index).tolist() == [2]
        (damage, *_) = _compare_sample(whole[2].tobytes(), index[2], layout)
        assert bool(re.search("the key must match", damage.what)) == (KEY.fullmatch(key.decode("latin-1")) is None)
    index["key"][2] = b"K" * 64
    index["crc32"][0, 1] ^= 1
    index["crc32"][3, 3] ^= 1
    assert find_suspects(whole, layout, index).tolist() == [0, 3]


@pytest.mark.parametrize("size", [300, LARGE_SAMPLE // 2, LARGE_SAMPLE])
def test_damage_has_the_same_words_for_samples_of_any_size(tmp_path: Path, size: int) -> None:
    """Small samples are compared by blocks, of which there are several here or one, and large ones by themselves."""
    with ShardWriter(tmp_path, "train", {"n": Field("uint8", (size,))}, 50) as writer:
        for number in range(50):
            writer.write(f"k{number}", {"n": np.full(size, number, np.uint8)})
    path = tmp_path / "train" / "train-000000.tar"
    whole = path.read_bytes()
    stride = (len(whole) - 1024) // 50
    assert verify(tmp_path).ok
    for spoil, found in {
        stride * 48 + 512 + 128 + 7: "n.npy: its crc32 is",
        stride * 48 + 512 + 3: "n.npy: its crc32 is",
        stride * 48 + 5: "n.npy: its tar header differs",
        stride * 49 - 1: "meta.json: the padding after it is not zero",
    }.items():
        path.write_bytes(whole[:spoil] + bytes([whole[spoil] ^ 1]) + whole[spoil + 1 :])
        (problem,) = verify(tmp_path).problems
        assert (problem.shard, problem.sample) == ("train/train-000000.tar", f"k{spoil // stride}")
        assert found in problem.what
    for kept in (stride * 3 + 700, stride * 3, stride * 49 + 512):
        path.write_bytes(whole[:kept])
        (problem,) = verify(tmp_path).problems
        assert problem.sample == f"k{kept // stride}"
        assert "the shard ends here" in problem.what
