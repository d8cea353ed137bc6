"""Connected components: which things belong together when pairs of them do."""

from typing import Any

import numpy as np

Indexes = np.ndarray[Any, np.dtype[np.int64]]


def find_components(count: int, left: Indexes, right: Indexes) -> Indexes:
    """For each of `count` nodes the smallest node that it is connected with, by the edges `left[i]`-`right[i]`.

    Every round hangs the larger root of each edge below the smaller one and then flattens the trees, all in arrays;
    edges within a tree are left out of the next round. A pointer only ever goes to a smaller node, so there are no
    cycles and the root of a component is its smallest node. (Shiloach and Vishkin, "An O(log n) parallel connectivity
    algorithm", 1982, is the ancestor of this.)
    """
    root = np.arange(count, dtype=np.int64)
    while len(left):
        ends = root[left], root[right]
        apart = ends[0] != ends[1]
        np.minimum.at(root, np.maximum(*ends)[apart], np.minimum(*ends)[apart])
        root = _flatten(root)
        left, right = left[apart], right[apart]
    return root


def _flatten(root: Indexes) -> Indexes:
    """Let every node point to the root of its tree."""
    while not np.array_equal(above := root[root], root):
        root = above
    return root
