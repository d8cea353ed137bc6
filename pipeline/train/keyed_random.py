"""Compute random numbers as a function of (seed, epoch, sample, name) and of nothing else.

So an augmentation does not depend on the order of samples, on the reader, or on how many numbers were drawn before.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2⁶⁴ divided by the golden ratio, made odd


@dataclass(frozen=True)
class KeyedRandom:
    """Random numbers for one batch: the keys of its samples, and (seed, epoch) of the pass."""

    seed: int
    epoch: int
    keys: Sequence[str]

    def number_items(self, count: int) -> "KeyedRandom":
        """Return random numbers for `count` items of each sample, one after the other."""
        return replace(self, keys=[f"{key} {number}" for key in self.keys for number in range(count)])

    def uniform(self, name: str, count: int = 1) -> Tensor:
        """Return numbers uniform in [0, 1), float32 (samples, count).

        A hash of seed, epoch, name and key starts one SplitMix64 a sample (Steele, Lea and Flood 2014, "Fast
        splittable pseudorandom number generators", figure 17).
        """
        prefix = f"{self.seed} {self.epoch} {name} "
        starts = [hashlib.blake2b((prefix + key).encode(), digest_size=8).digest() for key in self.keys]
        state = np.frombuffer(b"".join(starts), "<u8")[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state ^= state >> np.uint64(31)
        return torch.from_numpy((state >> np.uint64(40)).astype(np.float32) * np.float32(2**-24))

    def integers(self, name: str, limit: int) -> Tensor:
        """Return integers uniform in [-limit, limit], int64 (samples,)."""
        return (self.uniform(name)[:, 0] * (2 * limit + 1)).long() - limit
