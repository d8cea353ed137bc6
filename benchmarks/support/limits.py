"""What a reader could be at most: the same bytes, read or copied without any of the rest that a loader does."""

import mmap
import tarfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.make_tensors import CLASSES, Size

READ_BYTES = 1 << 22
NPY_HEADER = 128
LABELS = ("label.npy", "cls")
"""The label's member in our shards, and in tars as webdataset's users write them."""

Epoch = Callable[[], Iterator[Any]]
"""Reads a set once, batch by batch, and gives the labels of each batch, (batch,) of integers."""


def open_raw(folder: Path, samples: int) -> Epoch:
    """`read()` of all bytes in order into one buffer; the labels are counted, not taken from them."""
    paths = list_tars(folder)

    def read() -> Iterator[Any]:
        read_files(paths)
        yield np.arange(samples) % CLASSES

    return read


def open_memcpy(folder: Path, size: Size, batch: int, shuffle: bool) -> Epoch:
    """A copy of each member out of a memory map into its row of a new batch of torch tensors, in one thread.

    The tars are taken apart when it opens, in no measured time, and the labels are kept from then.
    """
    import torch

    paths = list_tars(folder)
    lengths = (size.side**2 * 3, 4 * size.coefficients * size.frames, 4 * size.tokens)
    rows = np.array([row for shard, path in enumerate(paths) for row in list_samples(shard, path)], np.int64)
    if shuffle:
        rows = rows[np.random.default_rng(0).permutation(len(rows))]
    maps = [np.memmap(path, np.uint8, mode="r") for path in paths]

    def copy() -> Iterator[Any]:
        for start in range(0, len(rows), batch):
            picked = rows[start : start + batch]
            tensors = [torch.empty((len(picked), length), dtype=torch.uint8) for length in lengths]
            image, mfcc, tokens = (tensor.numpy() for tensor in tensors)
            for n, (shard, at_image, at_mfcc, at_tokens, _) in enumerate(picked.tolist()):
                data = maps[shard]
                image[n] = data[at_image : at_image + lengths[0]]
                mfcc[n] = data[at_mfcc : at_mfcc + lengths[1]]
                tokens[n] = data[at_tokens : at_tokens + lengths[2]]
            yield picked[:, 4]

    return copy


def read_files(paths: Iterable[Path]) -> None:
    """Read all bytes into one buffer, 4 MiB at a time: they are in the page cache then."""
    buffer = bytearray(READ_BYTES)
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def list_samples(shard: int, path: Path) -> Iterator[Sequence[int]]:
    """Of each sample of a tar: the shard's number, where the arrays of image, mfcc and tokens begin, and the label."""
    found: dict[str, dict[str, int]] = {}
    with tarfile.open(path) as archive, path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        for member in archive:
            key, name = member.name.split(".", 1)
            start = member.offset_data
            if name in LABELS:
                found.setdefault(key, {})["label"] = read_label(data[start : start + member.size])
            else:
                found.setdefault(key, {})[name] = start + NPY_HEADER
    for sample in found.values():
        yield shard, sample["image.npy"], sample["mfcc.npy"], sample["tokens.npy"], sample["label"]


def read_label(content: bytes) -> int:
    """From an int64 `.npy`, or from text."""
    return int.from_bytes(content[NPY_HEADER:], "little") if content.startswith(b"\x93NUMPY") else int(content)


def list_tars(folder: Path) -> list[Path]:
    """Every tar below the folder, sorted."""
    return sorted(folder.rglob("*.tar"))
