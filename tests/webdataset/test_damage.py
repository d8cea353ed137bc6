"""WebDataset shards damaged after they were indexed: what is delivered is what was indexed, or an error."""

import contextlib
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardwright import DamageError, Loader, ShardDataset
from shardwright.datasets.read_context import ReadContext
from shardwright.webdataset.build_index import BESIDE, index_shards
from tests.support.webdataset_tars import find_index, folder, overwrite, read_all, user_cache

__all__ = ["folder", "user_cache"]

OPEN = ShardDataset.from_webdataset


def flip_bit(path: Path, bit: int) -> None:
    overwrite(path, bit // 8, bytes([path.read_bytes()[bit // 8] ^ 1 << bit % 8]))


def test_every_bit_of_a_shard_is_checked_or_never_read(folder: Path) -> None:
    """Flip bits after indexing: a sample is delivered as it was indexed, or an error names shard, sample and offset."""
    index_shards(folder)
    with OPEN(folder) as data:
        expected = read_all(data)
        index = data.index
    offsets = index.table.offsets
    path = folder / "shard-001.tar"
    rng = np.random.default_rng(0)
    bits = rng.integers(0, 8 * path.stat().st_size, 100)
    inside = 8 * rng.choice(offsets[4:8].ravel(), 40) + rng.integers(0, 8 * 20, 40)
    found = 0
    for bit in [*bits.tolist(), *inside.tolist()]:
        flip_bit(path, bit)
        with OPEN(folder) as data:
            for row in range(12):
                hit = (offsets[row] <= bit // 8) & (bit // 8 < offsets[row] + index.table.sizes[row])
                if 4 <= row < 8 and hit.any():
                    with pytest.raises(DamageError) as error:
                        data[row]
                    assert (error.value.shard, error.value.sample) == ("shard-001.tar", f"k{row}")
                    assert error.value.offset == offsets[row][hit][0]
                    found += 1
                else:
                    sample = data[row]
                    assert (sample["key"], sample["npy"].tolist(), sample["txt"]) == expected[row]
            assert [error.shard for error in data.verify()] == ["shard-001.tar"]
        flip_bit(path, bit)
    assert found > 10


@pytest.mark.parametrize("suffix", ["npy", "txt"])
def test_what_a_window_read_from_another_file_is_checked_again(folder: Path, suffix: str) -> None:
    """A window opens files by name, so that it may read an intact copy where the map has the damaged file."""
    index = index_shards(folder)
    path = folder / "shard-001.tar"
    with OPEN(folder) as data:
        intact = path.read_bytes()
        path.rename(folder / "mapped")
        path.write_bytes(intact)
        overwrite(folder / "mapped", int(index.table.offsets[6, 1 if suffix == "txt" else 0]) + 2, b"?")
        window = data.open_window(np.array([6]))
        assert data.gather([6], ReadContext(files=window))["key"] == ["k6"]
        with pytest.raises(DamageError, match=rf"sample 'k6', {suffix} at byte \d+: its crc32"):
            data[6]


def test_damage_is_skipped_on_request(folder: Path) -> None:
    index = index_shards(folder)
    overwrite(folder / "shard-001.tar", int(index.table.offsets[6, 1]), b"?")
    with OPEN(folder) as data:
        loader = Loader(data, 4, shuffle=False, on_error="skip")
        found = [key for batch in loader for key, valid in zip(batch["key"], batch["valid"], strict=True) if valid]
    assert found == [f"k{n}" for n in range(12) if n != 6]


@pytest.mark.sweep
def test_ten_thousand_flips_and_a_thousand_cuts(folder: Path) -> None:
    """Print where damage was found. What is delivered is what was indexed, whatever was damaged."""
    index_shards(folder, beside=True)
    with OPEN(folder) as data:
        expected, name, offsets, sizes = read_all(data), data.hash, data.index.table.offsets, data.index.table.sizes
    shards = sorted(folder.glob("*.tar"))
    files = [*shards, find_index(folder / BESIDE)]
    rng = np.random.default_rng(0)
    bytes_of = np.array([path.stat().st_size for path in files])
    bits = rng.integers(0, 8 * bytes_of.sum(), 9000).tolist()
    rows, members = rng.integers(0, 12, 1000), rng.integers(0, 2, 1000)
    starts = (np.cumsum(bytes_of) - bytes_of)[rows // 4] + offsets[rows, members]
    bits += (8 * starts + rng.integers(0, 8 * np.maximum(sizes[rows, members], 1))).tolist()
    counts: Counter[str] = Counter()
    for bit in bits:
        number = int(np.searchsorted(np.cumsum(bytes_of), bit // 8, side="right"))
        offset = bit - 8 * int(bytes_of[:number].sum())
        content = files[number].read_bytes()
        flip_bit(files[number], offset)
        counts[judge_flip(folder, expected, name, number)] += 1
        files[number].write_bytes(content)
    for size in rng.integers(0, bytes_of[1], 1000).tolist():
        content = files[1].read_bytes()
        os.truncate(files[1], size)
        with pytest.raises(DamageError, match="bytes; it had"):
            OPEN(folder)
        counts["cut, found at opening"] += 1
        files[1].write_bytes(content)
    print("\n".join(["", *(f"{count:6d}  {what}" for what, count in sorted(counts.items()))]))
    assert sum(counts.values()) == 11_000
    assert counts["flip in a content, found at its delivery"] > 900


def judge_flip(folder: Path, expected: list[Any], name: str, number: int) -> str:
    """Return where one flipped bit was found, after a check that all delivered samples are as they were written."""
    with OPEN(folder) as data:
        assert data.hash == name
        good = 0
        for row, sample in enumerate(expected):
            with contextlib.suppress(DamageError):
                found = data[row]
                assert (found["key"], found["npy"].tolist(), found["txt"]) == sample
                good += 1
        if number == 3:
            assert good == 12
            return "flip in the index: built again, or in bytes that nothing reads"
        assert len(data.verify()) == 1
        return (
            "flip in a content, found at its delivery" if good < 12 else "flip in headers and padding, found by verify"
        )
