"""Write datasets and define transforms for the tests of the loader. Nothing here imports PyTorch, since worker
processes import this module too."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardwright import Field, ShardDataset, ShardWriter, encode_jpeg
from shardwright.datasets.base import SampleSource
from shardwright.datasets.permutation import permute
from shardwright.datasets.read_context import DEFAULT_CONTEXT, Batch, Indices, ReadContext
from shardwright.loading.block_shuffle import BlockOrder
from shardwright.loading.loader import Order
from shardwright.loading.window_reader import Blocks

ORDERS: tuple[Order, ...] = ("global", "block", "none")
BLOCKS = Blocks(size=6 * 2048, per_window=3)
"""Blocks of few samples, so that small datasets have several windows."""

Sample = dict[str, Any]


def write_numbers(root: Path, count: int, samples_per_shard: int, split: str = "train") -> None:
    """Write samples of one number each, under its digits as key."""
    with ShardWriter(root, split, {"n": Field("int32", ())}, samples_per_shard) as writer:
        for n in range(count):
            writer.write(f"{n:05d}", {"n": n}, {"n": n})


def write_images(
    root: Path, count: int, samples_per_shard: int = 16, split: str = "train", encoding: str = "npy"
) -> None:
    """Write samples that are large enough for batches in pooled buffers; with the images as arrays or JPEG."""
    rng = np.random.default_rng(count)
    image = Field("uint8", (128, 128, 3), encoding=encoding)
    fields = {"image": image, "label": Field("int64", ()), "wave": Field("float32", (7,))}
    with ShardWriter(root, split, fields, samples_per_shard) as writer:
        for n in range(count):
            pixels, wave = rng.integers(0, 256, (128, 128, 3), np.uint8), rng.random(7, np.float32)
            value = encode_jpeg(pixels, 1 + n) if encoding == "jpeg" else pixels
            writer.write(f"image-{n:03d}", {"image": value, "label": n, "wave": wave}, {"n": n})


def draw_numbers(sample: Sample, rng: np.random.Generator) -> Sample:
    """A transform that returns random numbers."""
    return {"n": sample["n"], "draw": int(rng.integers(2**62)), "noise": rng.random(3)}


def brighten(sample: Sample, rng: np.random.Generator) -> Sample:
    """A transform that changes its input, and returns numbers, arrays and text."""
    sample["image"] += rng.integers(0, 256, (1, 1, 3), np.uint8)
    caption = f"{sample['key']} {rng.integers(1000)}"
    return sample | {"draw": rng.random(), "spectrum": np.fft.rfft(sample["wave"]), "caption": caption}


def list_rows(data: ShardDataset, order: str, seed: int, epoch: int, blocks: Blocks = BLOCKS) -> NDArray[np.int64]:
    """Return the rows of an epoch in order."""
    positions = np.arange(len(data))
    if order == "global":
        return permute(positions, len(data), seed, epoch)
    if order == "block":
        starts = data.cut_blocks(blocks.size)
        return BlockOrder(starts, len(data), blocks.per_window, seed, epoch, True).find_rows(positions)
    return positions


def interleave(ranks: Sequence[Sequence[Any]]) -> Iterator[Any]:
    """Yield the samples of all ranks in the order of the epoch; all ranks have equally many."""
    return chain.from_iterable(zip(*ranks, strict=True))


def flip_bit(path: Path, bit: int) -> None:
    """Flip one bit, counted from the start of the file; in place, so that memory maps see it too."""
    with path.open("r+b") as file:
        file.seek(bit // 8)
        (byte,) = file.read(1)
        file.seek(bit // 8)
        file.write(bytes([byte ^ 1 << bit % 8]))


class Ragged(SampleSource):
    """A source without files: sample n has an array of n + 1 numbers, so that a batch has a list of arrays."""

    split = "train"

    def __init__(self, count: int) -> None:
        self._count = count

    @property
    def fields(self) -> Mapping[str, Field]:
        return {}

    @property
    def names(self) -> tuple[str, ...]:
        return ("ragged",)

    @property
    def classes(self) -> None:
        return None

    @property
    def hash(self) -> str:
        return f"{self._count:064d}"

    @property
    def keys(self) -> NDArray[np.bytes_]:
        return np.array([f"{n:05d}" for n in range(self._count)], np.bytes_)

    def gather(self, indices: Indices, context: ReadContext = DEFAULT_CONTEXT) -> Batch:
        rows = [int(row) for row in indices]
        return {"key": [f"{row:05d}" for row in rows], "ragged": [np.arange(row + 1) for row in rows]}

    def meta(self, index: SupportsIndex) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass
