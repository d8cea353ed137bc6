"""Compare many samples of a shard at a time with what was written.

A few calls of NumPy for each member of a block replace some lines of Python for each member of each sample. They say
which samples differ; what differs in those few, `shardwright.format.walk_shard` finds one by one.
"""

import string

import numpy as np
from numpy.typing import NDArray

from shardwright.format import tar
from shardwright.format.checksum import compute_crc32
from shardwright.format.index import MAX_KEY_BYTES, Index
from shardwright.format.layout import Layout

IN_KEYS = np.isin(np.arange(256), list(f"{string.ascii_letters}{string.digits}_-".encode()))
"""The bytes that a key may have, bool (256,); see `shardwright.format.encode.KEY`."""

OCTAL_SHIFTS = np.arange(15, -1, -3)
"""Of the six octal digits of a checksum."""


def find_suspects(samples: NDArray[np.uint8], layout: Layout, index: Index) -> NDArray[np.int64]:
    """Return the numbers of the samples with any byte that differs from what was written, ascending, int64 (suspects,).

    Args:
        samples: uint8 (samples, stride), the bytes of whole samples, contiguous.
        layout: of all of them.
        index: their rows.
    """
    keys = np.ascontiguousarray(index["key"])
    wrong = _find_wrong_keys(keys)
    members = zip(layout.suffixes, layout.heads, layout.sizes, layout.offsets, index["crc32"].T, strict=True)
    memory, starts = samples.reshape(-1).data, range(0, samples.size, layout.stride)
    for suffix, head, size, offset, crc32 in members:
        end = offset + size
        headers = encode_headers(np.char.add(keys, f".{suffix}".encode()), size)
        for part, expected in (
            (slice(offset - tar.BLOCK, offset), headers),
            (slice(offset, offset + len(head)), np.frombuffer(head, np.uint8)),
            (slice(end, end + tar.count_padding(size)), np.uint8(0)),
        ):
            differs = samples[:, part] != expected
            if differs.any():  # which reads the whole array at once, unlike the same a row
                wrong |= differs.any(axis=1)
        wrong |= np.array([compute_crc32(memory[at + offset : at + end]) for at in starts], np.uint32) != crc32
    return np.flatnonzero(wrong)


def encode_headers(names: NDArray[np.bytes_], size: int) -> NDArray[np.uint8]:
    """Return what `tar.encode_header` gives for each name: uint8 (names, 512).

    Args:
        names: at most 100 bytes each.
        size: of the content of all, as for `tar.encode_header`.
    """
    head, tail, total = tar.encode_rest(size)
    letters = names.view(np.uint8).reshape(len(names), names.itemsize)
    sums = total + letters @ np.ones(names.itemsize, np.int64)
    start, stop = tar.MAX_NAME_BYTES + len(head), tar.BLOCK - len(tail)
    headers = np.empty((len(names), tar.BLOCK), np.uint8)
    headers[:] = np.frombuffer(bytes(tar.MAX_NAME_BYTES) + head + b"000000\0 " + tail, np.uint8)
    headers[:, : names.itemsize] = letters
    headers[:, start : stop - 2] += (sums[:, None] >> OCTAL_SHIFTS & 7).astype(np.uint8)
    return headers


def _find_wrong_keys(keys: NDArray[np.bytes_]) -> NDArray[np.bool_]:
    """Return which keys are not allowed: bool (keys,)."""
    lengths = np.char.str_len(keys)
    allowed = IN_KEYS[keys.view(np.uint8).reshape(len(keys), MAX_KEY_BYTES)]
    wrong: NDArray[np.bool_] = (allowed.sum(axis=1) != lengths) | (lengths == 0)
    return wrong
