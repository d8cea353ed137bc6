"""Find rows of bytes that are equal, without sorting the rows."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.connected_components import Indexes

Keys = NDArray[np.uint64]

_BATCH = 16_384  # rows at a time: 4 MiB of thumbnails
_SEED = 0x5EED
_MULTIPLIERS = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def find_equal_rows(*columns: NDArray[Any]) -> Indexes:
    """Return for each row, int64 (n,), the smallest index of the rows that are equal to it in all columns.

    Exact: rows are sorted by a hash, and those with the same hash are compared. A column is an array of any type (n, …)
    that may lie on disk: it is read in batches. What is sorted is 8 bytes a row: the upper bits of its hash, then its
    index; of 10 million rows, 40 bits of hash, with 45 pairs expected to share them by chance.
    """
    count = len(columns[0])
    first = np.arange(count, dtype=np.int64)
    index_mask = make_index_mask(count)
    keys = first.astype(np.uint64)
    for part in _split(count):
        keys[part] |= _hash_rows([_view_words(column[part]) for column in columns]) & ~index_mask
    keys.sort()
    same = (keys[1:] ^ keys[:-1]) <= index_mask
    pending = keys[np.append(same, False) | np.append(False, same)] if count else keys
    del keys
    while len(pending):
        opens = np.append(True, (pending[1:] ^ pending[:-1]) > index_mask)
        rows = (pending & index_mask).astype(np.int64)
        leaders = rows[opens][np.cumsum(opens) - 1]
        equal = _compare_rows(columns, leaders, rows)
        first[rows[equal]] = leaders[equal]
        pending = pending[~equal]  # rows that have only their hash in common with their leader
    return first


def make_index_mask(count: int) -> np.uint64:
    """Return a mask of the lowest bits, as many as the indexes of `count` rows need."""
    return np.uint64((1 << max(1, (count - 1).bit_length())) - 1)


def mix_bits(values: Keys) -> Keys:
    """Return values whose upper bits depend on all bits, each value another: the finalizer of SplitMix64 (Steele, Lea
    and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    mixed = (values ^ (values >> np.uint64(30))) * _MULTIPLIERS[0]
    mixed ^= mixed >> np.uint64(27)
    mixed *= _MULTIPLIERS[1]
    mixed ^= mixed >> np.uint64(31)
    return mixed


def _hash_rows(columns: list[Keys]) -> Keys:
    """Hash words, uint64 (n, …) a column, to uint64 (n,): sums of products with random odd numbers, then mixed. The
    upper half of a word is folded into the lower, as the top bit of a product depends on one bit alone."""
    draw = np.random.default_rng(_SEED)
    total: Keys = np.zeros(len(columns[0]), np.uint64)
    for words in columns:
        factors = draw.integers(2**63, size=words.shape[1], dtype=np.uint64) * np.uint64(2) + np.uint64(1)
        products: Keys = (words ^ (words >> np.uint64(32))) @ factors
        total = mix_bits(total) + products
    return mix_bits(total)


def _view_words(rows: NDArray[Any]) -> Keys:
    """View each row's bytes as uint64 (n, words), with zeros added to the last word."""
    width = rows.dtype.itemsize * int(np.prod(rows.shape[1:]))
    octets = np.ascontiguousarray(rows).view(np.uint8).reshape(len(rows), width)
    if width % 8:
        octets = np.pad(octets, ((0, 0), (0, -width % 8)))
    return octets.view(np.uint64)


def _compare_rows(columns: tuple[NDArray[Any], ...], left: Indexes, right: Indexes) -> NDArray[np.bool_]:
    equal = np.ones(len(left), np.bool_)
    for part in _split(len(left)):
        for column in columns:
            equal[part] &= (_view_words(column[left[part]]) == _view_words(column[right[part]])).all(axis=1)
    return equal


def _split(count: int) -> Iterator[slice]:
    for start in range(0, count, _BATCH):
        yield slice(start, min(start + _BATCH, count))
