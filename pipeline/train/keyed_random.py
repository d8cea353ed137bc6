"""Compute random numbers as a function of (seed, epoch, sample, name) and of nothing else.

So an augmentation does not depend on the order of samples, on the reader, or on how many numbers were drawn before.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from shardwright.datasets.splitmix64 import GOLDEN, mix

CPU = torch.device("cpu")


@dataclass(frozen=True)
class KeyedRandom:
    """Random numbers for the samples of a batch in one pass.

    Attributes:
        starts: a hash of seed, epoch and key for each sample, uint64 (samples,), with which all draws for it begin.
        device: where the numbers go. They are computed on the CPU, so they are the same anywhere.
    """

    starts: NDArray[np.uint64]
    device: torch.device

    @classmethod
    def for_samples(cls, seed: int, epoch: int, keys: Sequence[str], device: torch.device = CPU) -> "KeyedRandom":
        """Return those for the samples with these keys."""
        prefix = f"{seed} {epoch} "
        return cls(np.array([hash_text(prefix + key) for key in keys], np.uint64), device)

    def number_items(self, count: int) -> "KeyedRandom":
        """Return random numbers for `count` items of each sample, one after the other."""
        return replace(self, starts=draw(self.starts, "items", count).flatten())

    def uniform(self, name: str, count: int = 1) -> Tensor:
        """Return numbers uniform in [0, 1), float32 (samples, count)."""
        numbers = (draw(self.starts, name, count) >> np.uint64(40)).astype(np.float32) * np.float32(2**-24)
        return torch.from_numpy(numbers).to(self.device)

    def integers(self, name: str, limit: int) -> Tensor:
        """Return integers uniform in [-limit, limit], int64 (samples,)."""
        return (self.uniform(name)[:, 0] * (2 * limit + 1)).long() - limit


def hash_text(text: str) -> int:
    """Return 64 bits of a hash of a text."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def draw(starts: NDArray[np.uint64], name: str, count: int) -> NDArray[np.uint64]:
    """Return `count` random numbers for each of `starts` (samples,), uint64 (samples, count).

    Start and name give the start of one SplitMix64 a sample, whose numbers these are.
    """
    state = mix(starts ^ np.uint64(hash_text(name)))
    return mix(state[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN)
