"""Find connected components of a graph."""

from typing import Any

import numpy as np

Indexes = np.ndarray[Any, np.dtype[np.int64]]


def find_components(count: int, left: Indexes, right: Indexes) -> Indexes:
    """Return for each of `count` nodes the smallest node connected with it, by the edges `left[i]`-`right[i]`.

    Every round attaches the larger root of each edge to the smaller one and then flattens the trees, all in arrays;
    edges within a tree are left out of the next round. Nodes only ever point to smaller nodes, so there are no cycles
    and the root of a component is its smallest node. (After Shiloach and Vishkin, "An O(log n) parallel connectivity
    algorithm", 1982.)
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
    """Make every node point to the root of its tree."""
    while not np.array_equal(above := root[root], root):
        root = above
    return root
