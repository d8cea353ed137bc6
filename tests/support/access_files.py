"""Write files for the tests of access to shards, and damage them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shardwright import Field, ShardDataset, ShardWriter
from shardwright.remote.location import Access
from shardwright.storage.file_set import FileSet
from shardwright.storage.mapped_files import MappedFiles
from shardwright.storage.pread_files import PreadFiles

OPENERS: dict[Access, Callable[[Any, Any], FileSet]] = {"map": MappedFiles, "pread": PreadFiles}
access_ways = pytest.mark.parametrize("access", list(OPENERS))
NUMBERS = {"number": Field("int64", ()), "block": Field("uint8", (700,))}


@dataclass(frozen=True)
class Stored:
    """Files on disk, and their contents."""

    paths: list[Path]
    contents: list[bytes]

    @property
    def sizes(self) -> list[int]:
        return [len(content) for content in self.contents]

    def open(self, access: Access) -> FileSet:
        return OPENERS[access](self.paths, self.sizes)


def write_stored(folder: Path) -> Stored:
    rng = np.random.default_rng(0)
    contents = [rng.bytes(512 * blocks) for blocks in (40, 1, 333, 8, 16)]
    paths = [folder / f"shard-{number}.tar" for number in range(len(contents))]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    return Stored(paths, contents)


def write_numbers(root: Path, count: int, samples_per_shard: int = 1) -> Path:
    with ShardWriter(root, "train", NUMBERS, samples_per_shard) as writer:
        for number in range(count):
            writer.write(f"{number:06d}", {"number": number, "block": np.full(700, number % 256, np.uint8)})
    return root


def find_shard_path(data: ShardDataset, row: int) -> Path:
    return Path(data.root) / "train" / data.find_shard(row)


def count_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def remove(path: Path) -> None:
    path.unlink()


def lengthen(path: Path) -> None:
    path.write_bytes(path.read_bytes() + bytes(512))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 512)


def put_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def put_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
