"""Open a dataset for comparison, as arrays: a few tens of bytes a sample and member, whatever the samples contain."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.tables.contracts import ALIGNED_FOLDER, EXTRACT_FOLDER, SHARDS_FOLDER
from shardwright.format.canonical_json import decode_json
from shardwright.format.index import decode_key, iterate_indexes
from shardwright.format.manifest import MANIFEST_NAME, Manifest, read_manifest

Numbers = NDArray[np.int32]

RECORD = "extract_record.json"


@dataclass(frozen=True)
class ComparedDataset:
    """One of the two datasets that are compared.

    Attributes:
        data: the data folder with the stage tables, None where there is none.
        manifest: of the dataset.
        record: how its shards were made, None where there is no record.
        samples: in the order of their keys.
    """

    data: Path | None
    manifest: Manifest
    record: Mapping[str, Any] | None
    samples: "SampleArrays"


@dataclass(frozen=True)
class SampleArrays:
    """All samples of a dataset, in the order of their keys.

    Attributes:
        keys: S64 (n,).
        splits: indexes into `split_names`.
        shards: indexes into `shard_names`, which are prefixed by their split.
        metas: bytes of each sample's meta, with its padding.
        crc32s: uint32 (n, members), of the fields in their order, then of the meta.
    """

    keys: NDArray[np.bytes_]
    splits: Numbers
    shards: Numbers
    metas: Numbers
    crc32s: NDArray[np.uint32]
    split_names: tuple[str, ...]
    shard_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.keys)


def open_dataset(path: Path) -> ComparedDataset:
    """Open the dataset in a data folder, in its folder of shards, or in any folder with a `dataset.json`.

    Raises:
        InputError: there is none, or two of its samples have the same key; the message names the folder.
        FormatError, DamageError: the manifest or an index is damaged.
    """
    root = path if (path / MANIFEST_NAME).is_file() else path / SHARDS_FOLDER
    if not (root / MANIFEST_NAME).is_file():
        raise InputError(
            f"{path} has no {MANIFEST_NAME}, and no {SHARDS_FOLDER} with one: name a data folder or a dataset"
        )
    parent = root.absolute().parent
    data = parent if root.absolute().name == SHARDS_FOLDER and (parent / ALIGNED_FOLDER).is_dir() else None
    path_of_record = parent / EXTRACT_FOLDER / RECORD
    manifest = read_manifest(root)
    record = decode_json(path_of_record.read_bytes()) if path_of_record.is_file() else None
    # The record of another run does not describe these shards.
    matching = record if isinstance(record, dict) and record.get("dataset") == manifest.hash else None
    return ComparedDataset(data, manifest, matching, _read_samples(root, manifest))


def _read_samples(root: Path, manifest: Manifest) -> SampleArrays:
    names = tuple(f"{name}/{shard.name}" for name, split in manifest.splits.items() for shard in split.shards)
    counts = [shard.samples for split in manifest.splits.values() for shard in split.shards]
    metas = [shard.meta_bytes for split in manifest.splits.values() for shard in split.shards]
    indexes = [
        index
        for name, split in manifest.splits.items()
        for _, index in iterate_indexes(root / name, manifest.fields, split)
    ]
    keys = np.concatenate([np.empty(0, "S64"), *(index["key"] for index in indexes)])
    order = np.argsort(keys, kind="stable").astype(np.int32)
    keys = keys[order]
    if repeats := keys[1:][keys[1:] == keys[:-1]].tolist():
        raise InputError(f"{root} has two samples with the key {decode_key(repeats[0])!r}, so it cannot be compared")
    splits = np.repeat(np.arange(len(manifest.splits)), [split.samples for split in manifest.splits.values()])
    empty = np.empty((0, len(manifest.fields) + 1), np.uint32)
    return SampleArrays(
        keys=keys,
        splits=splits[order].astype(np.int32),
        shards=np.repeat(np.arange(len(names)), counts)[order].astype(np.int32),
        metas=np.repeat(metas, counts)[order].astype(np.int32),
        crc32s=np.concatenate([empty, *(index["crc32"] for index in indexes)])[order],
        split_names=tuple(manifest.splits),
        shard_names=names,
    )
