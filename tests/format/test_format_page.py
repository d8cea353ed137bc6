"""A second reader, written from docs/shard_format.md with NumPy and OpenCV, reads the same samples as this package."""

import hashlib
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from pipeline.tables.contracts import SHARDS_FOLDER
from shardwright import Field, Loader, ShardDataset, ShardWriter, Source, read_manifest, verify, write_manifest
from tests.support.factory_extract import extract_things, make_things
from tests.support.old_sets import make_old
from tests.support.shard_samples import Written, assert_same_arrays, splits, write_samples, write_small

pytestmark = pytest.mark.slow

PAGE = Path(__file__).parents[2] / "docs" / "shard_format.md"


def hash_json(value: object) -> str:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def make_header(descr: object, shape: tuple[int, ...]) -> bytes:
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = max(128, (10 + len(text) + 1 + 63) // 64 * 64)
    return b"\x93NUMPY\x01\x00" + (size - 10).to_bytes(2, "little") + text.ljust(size - 11) + b"\n"


def measure_member(field: dict[str, Any], meta_bytes: int, sizes: Iterator[int]) -> tuple[bytes, int]:
    """Return the first bytes of a member and its size; the sizes of images are in the index."""
    if field["name"] == "meta":
        return b"", meta_bytes
    if field.get("encoding") == "jpeg":
        return b"\xff\xd8\xff", next(sizes)
    dtype = np.dtype(field["dtype"]).newbyteorder("<")
    head = make_header(dtype.str, tuple(field["shape"]))
    return head, len(head) + dtype.itemsize * int(np.prod(field["shape"]))


def decode_by_the_page(member: bytes, head: bytes, field: dict[str, Any]) -> Any:
    if field["name"] == "meta":
        return json.loads(member)
    if field.get("encoding") == "jpeg":
        assert member.endswith(b"\xff\xd9")
        pixels = cv2.imdecode(np.frombuffer(member, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        assert pixels is not None
        assert (field["dtype"], list(pixels.shape)) == ("uint8", field["shape"])
        return pixels[:, :, ::-1]
    dtype = np.dtype(field["dtype"]).newbyteorder("<")
    return np.frombuffer(member, dtype, offset=len(head)).reshape(field["shape"])


def read_rows(path: Path, columns: list[Any], samples: int, sha256: str) -> np.ndarray[Any, Any]:
    content = path.read_bytes()
    assert hashlib.sha256(content).hexdigest() == sha256
    header = make_header(columns, (samples,))
    assert content.startswith(header)
    assert len(content) == len(header) + samples * np.dtype(columns).itemsize
    return np.frombuffer(content, np.dtype(columns), offset=len(header))


def read_by_the_page(root: Path, split: str) -> Iterator[dict[str, Any]]:
    manifest = json.loads((root / "dataset.json").read_bytes())
    hashed = {key: value for key, value in manifest.items() if key not in ("hash", "sources", "sources_hash")}
    fields = manifest["fields"]
    images = [field for field in fields if field.get("encoding") == "jpeg"]
    whole = [parts for parts in manifest["splits"].values() if "index" in parts]
    version = 3 if len(whole) < len(manifest["splits"]) else 2 if images else 1
    assert (manifest["format"], manifest["version"], manifest["hash"]) == ("shardwright", version, hash_json(hashed))
    assert manifest.get("sources_hash") == (hash_json(manifest["sources"]) if "sources" in manifest else None)
    columns: list[Any] = [("key", "|S64"), ("crc32", "<u4", (len(fields) + 1,))]
    if images:
        columns += [("offset", "<u8"), ("size", "<u4", (len(images),))]
    parts = manifest["splits"][split]
    if "index" in parts:
        rows = iter(
            read_rows(root / split / parts["index"]["name"], columns, parts["samples"], parts["index"]["sha256"])
        )
    for shard in parts["shards"]:
        if "index" not in parts:
            path = root / split / (re.sub(r"\.tar$", "", shard["name"]) + ".index.npy")
            rows = iter(read_rows(path, columns, shard["samples"], shard["index_sha256"]))
        content = (root / split / shard["name"]).read_bytes()
        assert (len(content), hashlib.sha256(content).hexdigest()) == (shard["bytes"], shard["sha256"])
        at = 0
        for _ in range(shard["samples"]):
            row = next(rows)
            sizes = iter(row["size"].tolist() if images else [])
            assert not images or row["offset"] == at
            sample: dict[str, Any] = {"key": row["key"].decode("ascii")}
            for field, crc32 in zip([*fields, {"name": "meta"}], row["crc32"], strict=True):
                head, size = measure_member(field, shard["meta_bytes"], sizes)
                member = content[at + 512 : at + 512 + size]
                assert (zlib.crc32(member), member[: len(head)]) == (crc32, head)
                sample[field["name"]] = decode_by_the_page(member, head, field)
                at += 512 + (size + 511) // 512 * 512
            yield sample
        assert content[at:] == bytes(1024)


def assert_read_equal(root: Path, split: str) -> None:
    with ShardDataset(root, split) as data:
        found = list(read_by_the_page(root, split))
        assert len(found) == len(data)
        for number, sample in enumerate(found):
            assert (sample.pop("key"), sample.pop("meta")) == (data[number]["key"], data.meta(number))
            assert_same_arrays(data[number], sample)


@given(splits())
@settings(max_examples=20, deadline=None)
def test_any_dataset_is_read_equally(tmp_path_factory: pytest.TempPathFactory, written: Written) -> None:
    root = tmp_path_factory.mktemp("any")
    write_samples(root, written, 3)
    assert_read_equal(root, "train")
    assert_read_equal(make_old(root), "train")


def test_the_shards_of_the_pipeline_are_read_equally(tmp_path: Path) -> None:
    extract_things(tmp_path, make_things(16))
    root = tmp_path / "data" / SHARDS_FOLDER
    for split in ("train", "val", "test"):
        assert_read_equal(root, split)


def test_sources_have_a_separate_hash(tmp_path: Path) -> None:
    write_small(tmp_path, 3)
    write_manifest(tmp_path, replace(read_manifest(tmp_path), sources=(Source("é", "CC0", "", 3),)))
    assert_read_equal(tmp_path, "train")


def test_the_page_names_every_key_of_the_manifest() -> None:
    schema = json.loads((PAGE.parents[1] / "schemas" / "dataset.schema.json").read_text())
    page = PAGE.read_text(encoding="utf-8")
    keys = {key for part in (schema, *schema["$defs"].values()) for key in part["properties"]}
    assert {key for key in keys if not re.search(rf"`{key}`", page)} == set()


def test_public_names_and_file_names(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    fields = {
        "image": Field("uint8", (224, 224, 3), axes="HWC"),
        "tokens": Field("int32", (64,), axes="T"),
        "label": Field("int64", ()),
    }
    with ShardWriter(tmp_path, split="train", fields=fields, samples_per_shard=500) as w:
        for number in range(3):
            a = draw.integers(0, 256, (224, 224, 3), np.uint8)
            b = draw.integers(0, 9, 64, np.int32)
            w.write(f"key-{number}", {"image": a, "tokens": b, "label": 3}, meta={"caption": "…"})
    data = ShardDataset(tmp_path, split="train")
    assert (len(data), list(data.fields), data[1]["key"], data.meta(1)) == (3, list(fields), "key-1", {"caption": "…"})
    batches = list(Loader(data, batch_size=2, shuffle=True, seed=0))
    assert [batch["image"].shape for batch in batches] == [(2, 224, 224, 3), (1, 224, 224, 3)]
    assert batches[0]["image"].dtype == torch.uint8
    assert sorted(key for batch in batches for key in batch["key"]) == ["key-0", "key-1", "key-2"]
    report = verify(tmp_path)
    assert (report.ok, report.problems) == (True, ())
