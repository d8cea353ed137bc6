"""Draw the random numbers of a batch's samples at once: the same numbers however a sample is read."""

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from shardwright.datasets.splitmix64 import GOLDEN, mix, to_uniform


def draw_uniform(seed: int, epoch: int, stream: str, keys: Sequence[str], count: int) -> NDArray[np.float64]:
    """Return `count` numbers for each sample, uniform in [0, 1): float64 (samples, count).

    They are a function of the arguments and each sample's key alone: not of batch, threads, processes or ranks. Each
    sample has a SplitMix64 of its own, whose start is a blake2b of these; 2 microseconds a sample.

    Args:
        seed: of the loader.
        epoch: of the loader.
        stream: the name of these numbers, such as that of a field.
        keys: of the samples. Samples that share a key share their numbers.
        count: numbers a sample.
    """
    if not count:
        return np.empty((len(keys), 0))
    prefix = f"{seed} {epoch} {stream} "
    digests = [_hash(prefix + key) for key in keys]
    starts = np.frombuffer(b"".join(digests), "<u8").astype(np.uint64, copy=False)
    return to_uniform(mix(starts[:, None] + np.arange(1, count + 1, dtype=np.uint64) * GOLDEN))


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, person=b"shardwright.ops").digest()
