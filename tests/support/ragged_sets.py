"""Write splits whose samples have values of varying length, padded to the longest as own shards store them."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shardwright import Field, ShardDataset, ShardWriter

PADDING = -1


def write_ragged(root: Path, lengths: NDArray[np.int64]) -> ShardDataset:
    """Write a split with `tokens` int32, `tokens_length` and the number `n`; token p of sample n is 1000 n + p."""
    longest = max(1, int(lengths.max(initial=1)))
    fields = {
        "tokens": Field("int32", (longest,), padding=PADDING),
        "tokens_length": Field("int32", ()),
        "n": Field("int64", ()),
    }
    with ShardWriter(root, "train", fields, 100) as writer:
        for number, length in enumerate(lengths.tolist()):
            tokens = np.full(longest, PADDING, np.int32)
            tokens[:length] = 1000 * number + np.arange(length)
            writer.write(f"{number:05d}", {"tokens": tokens, "tokens_length": length, "n": number})
    return ShardDataset(root, "train")


def draw_lengths(count: int, median: float = 300, sigma: float = 0.8, most: int = 3000) -> NDArray[np.int64]:
    """Return log-normal lengths, 1 to `most`, as texts and recordings have them."""
    drawn = np.random.default_rng(0).lognormal(np.log(median), sigma, count)
    return np.clip(drawn, 1, most).astype(np.int64)
