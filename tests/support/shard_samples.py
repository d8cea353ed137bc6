"""Generate datasets for tests of `shardwright`: any that the format allows, and one small fixed one."""

import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray

from shardwright import Field, Sample, ShardWriter, encode_jpeg
from shardwright.format.field import DTYPES, RESERVED

KEYS = st.from_regex(r"[A-Za-z0-9_-]{1,64}", fullmatch=True)
NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,30}", fullmatch=True).filter(lambda name: name not in RESERVED)
SHAPES = st.lists(st.integers(1, 5), max_size=3).map(tuple)
SIDES = st.integers(1, 40)
IMAGES = st.builds(lambda height, width: Field("uint8", (height, width, 3), encoding="jpeg"), SIDES, SIDES)
FIELDS = st.dictionaries(NAMES, st.builds(Field, st.sampled_from(DTYPES), SHAPES) | IMAGES, min_size=1, max_size=4)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@dataclass(frozen=True)
class Written:
    """The content of a split."""

    fields: Mapping[str, Field]
    samples: Sequence[Sample]


@st.composite
def splits(draw: st.DrawFn, max_samples: int = 12) -> Written:
    fields = draw(FIELDS)
    keys = draw(st.lists(KEYS, unique=True, max_size=max_samples))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    metas = st.dictionaries(st.text(), JSON, max_size=3)
    return Written(fields, [Sample(key, make_arrays(fields, rng), draw(metas)) for key in keys])


def make_arrays(fields: Mapping[str, Field], rng: np.random.Generator) -> dict[str, Any]:
    return {name: make_array(field, rng) for name, field in fields.items()}


def make_array(field: Field, rng: np.random.Generator) -> NDArray[Any] | bytes:
    """Return random finite values of the dtype, or a JPEG file of random quality."""
    if field.encoding == "jpeg":
        pixels = rng.integers(0, 256, field.shape, np.uint8) >> np.uint8(rng.integers(0, 8))
        return encode_jpeg(pixels, int(rng.integers(1, 101)))
    if field.dtype == "bool":
        return np.asarray(rng.integers(0, 2, field.shape), np.bool_)
    values = np.frombuffer(rng.bytes(field.nbytes), field.dtype).reshape(field.shape).copy()
    values[~np.isfinite(values)] = 0
    return values


SMALL_FIELDS = {
    "image": Field("uint8", (5, 7, 3), axes="HWC"),
    "mfcc": Field("float32", (4, 6), axes="CT", padding=0.0),
    "label": Field("int64", ()),
}
JPEG_FIELDS = SMALL_FIELDS | {"image": Field("uint8", (5, 7, 3), axes="HWC", encoding="jpeg")}
"""The same fields in batches; in the shards the images are files of different sizes."""
KINDS = {"arrays": SMALL_FIELDS, "images": JPEG_FIELDS}


def make_samples(count: int, prefix: str = "sample", fields: Mapping[str, Field] = SMALL_FIELDS) -> list[Sample]:
    rng = np.random.default_rng(count)
    return [
        Sample(f"{prefix}-{n:03d}", make_arrays(fields, rng), {"n": n, "caption": "é" * (n % 5)}) for n in range(count)
    ]


def write_small(
    root: Path,
    count: int = 20,
    split: str = "train",
    samples_per_shard: int = 6,
    fields: Mapping[str, Field] = SMALL_FIELDS,
) -> list[Sample]:
    samples = make_samples(count, split, fields)
    write_samples(root, Written(fields, samples), samples_per_shard, split)
    return samples


def find_member(shard: Path, name: str) -> tuple[int, int]:
    """Return offset and size of a member's content, found by `tarfile`."""
    with tarfile.open(shard) as archive:
        member = archive.getmember(name)
    return member.offset_data, member.size


def write_samples(root: Path, written: Written, samples_per_shard: int, split: str = "train") -> None:
    with ShardWriter(root, split, written.fields, samples_per_shard) as writer:
        for sample in written.samples:
            writer.write(sample.key, sample.arrays, sample.meta)


def read_tree(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def read_value(value: Any) -> NDArray[Any]:
    """Return the array that a batch has for a value: the pixels of a file are decoded by OpenCV."""
    if not isinstance(value, bytes):
        return np.asarray(value)
    return np.asarray(cv2.imdecode(np.frombuffer(value, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]


def assert_same_arrays(found: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for name, array in expected.items():
        assert np.asarray(found[name]).dtype == read_value(array).dtype, name
        np.testing.assert_array_equal(found[name], read_value(array), err_msg=name)
