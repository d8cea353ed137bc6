"""Compute the order of an epoch: a keyed permutation, never stored.

A position in the epoch is mapped to a sample's number by a keyed permutation of 0 … count-1, so that any position
is computed in the same time, in any process, and only the position has to be saved.

It is a Feistel network on the smallest number of bits that holds `count`. The bits are divided into two halves whose
lengths differ by at most one; a round changes one half by a hash of the other, so it is invertible, and the network is
a permutation of 2^bits numbers. Four rounds of a random function are indistinguishable from a random permutation,
forwards or backwards (Luby and Rackoff 1988); that holds for long halves, and these are short, so there are six. A
result outside 0 … count-1 is permuted again until it falls inside ("cycle walking": Black and Rogaway, "Ciphers with
Arbitrary Finite Domains", 2002), less than once a position on average, as 2^bits < 2 · count.
"""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROUNDS = 6
# Odd constants of two 64-bit mixers: the golden ratio's, of SplitMix64 (Steele, Lea and Flood 2014), and degski's.
MULTIPLIERS = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93))
HALF = np.uint64(32)


def permute(positions: NDArray[np.int64], count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the sample at each position of an epoch: over all positions, each of 0 … count-1 exactly once.

    Args:
        positions: int64 (any,), each in 0 … count-1.
        count: samples in the epoch, below 2^62.
        seed: any int; with `epoch` and `count` it is the key of the permutation.
        epoch: any int.

    Returns:
        int64, the shape of `positions`. The same on every machine and in every release of NumPy.
    """
    low_bits = max(1, (count - 1).bit_length() // 2)
    high_bits = max(1, (count - 1).bit_length() - low_bits)
    keys = _derive_keys(seed, epoch, count)
    values = positions.astype(np.uint64)
    walking = np.arange(len(values))
    while len(walking):
        values[walking] = _encrypt(values[walking], keys, np.uint64(low_bits), np.uint64(high_bits))
        walking = walking[values[walking] >= count]
    return values.astype(np.int64)


def permute_groups(
    positions: NDArray[np.int64], counts: NDArray[np.int64], groups: NDArray[np.int64], seed: int, epoch: int
) -> NDArray[np.int64]:
    """Return the same for positions of several groups, each of which is permuted by itself.

    Args:
        positions: int64 (any,), each in its group.
        counts: samples in the group of each position, 1 to 2^52.
        groups: a number of the group of each position.
        seed, epoch: any ints.
    """
    bits = np.frexp((counts - 1).astype(np.float64))[1]  # the exponent of an integer is its bit length
    low_bits = np.maximum(1, bits // 2)
    sizes = np.array([low_bits, np.maximum(1, bits - low_bits)], np.uint64)
    scrambled = groups.astype(np.uint64) * MULTIPLIERS[0]
    scrambled ^= scrambled >> HALF
    keys = _derive_keys(seed, epoch, 0)[:, None] ^ (scrambled * MULTIPLIERS[1])
    values = positions.astype(np.uint64)
    walking = np.arange(len(values))
    while len(walking):
        values[walking] = _encrypt(values[walking], keys[:, walking], *sizes[:, walking])
        walking = walking[values[walking] >= counts[walking].astype(np.uint64)]
    return values.astype(np.int64)


Uint64 = np.uint64 | NDArray[np.uint64]


def _encrypt(values: NDArray[np.uint64], keys: NDArray[np.uint64], low_bits: Uint64, high_bits: Uint64) -> Any:
    """Run the network once: a permutation of 0 … 2^(low_bits + high_bits) - 1; for each value by itself."""
    one = np.uint64(1)
    low_mask, high_mask = (one << low_bits) - one, (one << high_bits) - one
    low, high = values & low_mask, values >> low_bits
    for low_key, high_key in zip(keys[::2], keys[1::2], strict=True):
        low ^= _mix(high, low_key) & low_mask
        high ^= _mix(low, high_key) & high_mask
    return (high << low_bits) | low


def _mix(half: NDArray[np.uint64], key: Uint64) -> NDArray[np.uint64]:
    """Return 32 bits that each depend on every bit of the half and of the key; arithmetic modulo 2^64."""
    mixed = (half ^ key) * MULTIPLIERS[0]
    mixed ^= mixed >> HALF
    mixed *= MULTIPLIERS[1]
    mixed >>= HALF
    return mixed


def _derive_keys(seed: int, epoch: int, count: int) -> NDArray[np.uint64]:
    digest = hashlib.blake2b(f"{seed} {epoch} {count}".encode(), digest_size=8 * ROUNDS).digest()
    return np.frombuffer(digest, "<u8").astype(np.uint64)
