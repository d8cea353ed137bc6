"""Ten thousand flipped bits and cuts in tars of ten types of members: each is reported before it is delivered."""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardwright import DamageError, ShardDataset
from shardwright.webdataset.build_index import index_shards
from shardwright.webdataset.dataset import ForeignDataset
from shardwright.webdataset.decode import choose_decoder
from shardwright.webdataset.limits import DEFAULT_LIMITS
from tests.support.factory_video import draw_frames, encode_video
from tests.support.webdataset_tars import (
    Sample,
    is_equal,
    make_audio,
    make_image,
    make_npy,
    make_npz,
    overwrite,
    user_cache,
    write_shards,
)

__all__ = ["user_cache"]

OPEN = ShardDataset.from_webdataset
SAMPLES, SHARDS = 4, 2
FLIPS, CUTS = 9000, 1000


def make_samples(rng: np.random.Generator) -> list[Sample]:
    """Return samples with a member of each type."""
    video = encode_video(draw_frames(3), "video/mp4")
    return [
        (
            f"s{number}",
            {
                **{suffix: make_image(rng, (24, 32 + number), f".{suffix}") for suffix in ("jpg", "png", "webp")},
                **{suffix: make_audio(300 + number, 2, suffix.upper()) for suffix in ("wav", "flac", "ogg")},
                "mp4": video,
                "txt": f"caption {number}, é".encode() * 20,
                "npy": make_npy(rng.standard_normal((6, 7))),
                "npz": make_npz(boxes=rng.standard_normal((number + 1, 4)), names=np.array(["a", "b"])),
            },
        )
        for number in range(SAMPLES)
    ]


@contextmanager
def flip_bit(path: Path, bit: int) -> Iterator[None]:
    """Flip a bit of a file, without a trace in its time, and back."""
    with path.open("rb") as file:
        file.seek(bit // 8)
        value = file.read(1)
    overwrite(path, bit // 8, bytes([value[0] ^ 1 << bit % 8]))
    try:
        yield
    finally:
        overwrite(path, bit // 8, value)


def find_hit(data: ForeignDataset, shard: int, at: int) -> tuple[int, str] | None:
    """Return the row and suffix of the member that has this byte of a shard, or None if it is of no content."""
    first = int(data.index.firsts[shard])
    rows = slice(first, first + data.index.shards[shard].samples)
    offsets, sizes = data.index.table.offsets[rows], data.index.table.sizes[rows]
    hits = np.argwhere((offsets <= at) & (at < offsets + sizes))
    return (first + int(hits[0][0]), data.index.suffixes[int(hits[0][1])].name) if len(hits) else None


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        if isinstance(value, dict):
            assert found[name].keys() == value.keys()
            assert all(is_equal(found[name][key], array) for key, array in value.items())
        else:
            assert is_equal(found[name], value), name


@pytest.mark.sweep
@pytest.mark.parametrize("access", ["map", "pread"])
def test_every_flip_in_a_content_and_every_cut_is_reported(tmp_path: Path, access: Any) -> None:
    samples = make_samples(np.random.default_rng(0))
    folder = write_shards(tmp_path / "set", [samples[:2], samples[2:]])
    index_shards(folder)
    paths = sorted(folder.glob("*.tar"))
    with OPEN(folder) as data:
        expected = list(data)
    rng, counts = np.random.default_rng(1), Counter[str]()
    for _ in range(FLIPS // 2):
        shard = int(rng.integers(SHARDS))
        bit = int(rng.integers(8 * paths[shard].stat().st_size))
        with flip_bit(paths[shard], bit), OPEN(folder, access=access) as data:
            hit = find_hit(data, shard, bit // 8)
            other = int(rng.integers(SAMPLES))
            if hit is None or hit[0] != other:
                assert_same(data[other], expected[other])
            if hit is not None:
                with pytest.raises(DamageError, match="crc32") as error:
                    data[hit[0]]
                found = error.value.shard, error.value.sample, error.value.field
                assert found == (paths[shard].name, f"s{hit[0]}", hit[1])
            counts["in headers and padding, which are not read" if hit is None else hit[1]] += 1
    for _ in range(CUTS // 2):
        path = paths[int(rng.integers(SHARDS))]
        content = path.read_bytes()
        os.truncate(path, int(rng.integers(len(content))))
        with pytest.raises(DamageError, match=rf"{path.name} has \d+ bytes; it had {len(content)}") as error:
            OPEN(folder, access=access)
        assert error.value.shard == path.name
        path.write_bytes(content)
    print("\n".join(["", *(f"{count:6d}  {what}" for what, count in sorted(counts.items()))]))
    assert set(samples[0][1]) <= counts.keys()


@pytest.mark.sweep
def test_what_decoders_notice_of_damage_from_before_the_index() -> None:
    """Only printed: a tar has no checksum of contents, so what decoders do not notice cannot be found."""
    rng = np.random.default_rng(2)
    lines = []
    for suffix, content in make_samples(rng)[1][1].items():
        decode = choose_decoder(suffix, {}, DEFAULT_LIMITS) or bytes
        whole, counts = decode(content), Counter[str]()
        for _ in range(500):
            bit = int(rng.integers(8 * len(content)))
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            try:
                assert_same({suffix: decode(bytes(damaged))}, {suffix: whole})
            except ValueError:
                counts["refused"] += 1
            except AssertionError:
                counts["delivered changed"] += 1
            else:
                counts["delivered as it was"] += 1
        lines.append(f"{suffix:6s}{dict(sorted(counts.items()))}")
    print("\n".join(["", *lines]))
