"""Find connected components of a graph.

A forest is an array of int64 in which each node points to itself or to a smaller node of its component. So there are no
cycles, and the root of a component is its smallest node. (After Shiloach and Vishkin, "An O(log n) parallel
connectivity algorithm", 1982.)
"""

from typing import Any

import numpy as np

Indexes = np.ndarray[Any, np.dtype[np.int64]]


def find_components(count: int, left: Indexes, right: Indexes) -> Indexes:
    """Return for each of `count` nodes the smallest node connected with it, by the edges `left[i]`-`right[i]`."""
    forest = np.arange(count, dtype=np.int64)
    join_components(forest, left, right)
    return find_roots(forest, forest)


def join_components(forest: Indexes, left: Indexes, right: Indexes) -> None:
    """Join in place what the edges `left[i]`-`right[i]` connect; the time depends on the edges alone.

    Every round attaches the larger root of each edge to the smaller one; edges within a tree are left out of the next.
    """
    while len(left):
        left, right = find_roots(forest, left), find_roots(forest, right)
        apart = left != right
        left, right = left[apart], right[apart]
        np.minimum.at(forest, np.maximum(left, right), np.minimum(left, right))


def find_roots(forest: Indexes, nodes: Indexes) -> Indexes:
    """Return the root of each node, and make the nodes point to it.

    Every round doubles the steps that a node's pointer spans, so a chain takes as many as the logarithm of its length.
    """
    above = forest[nodes]
    while not np.array_equal(beyond := forest[above], above):
        forest[nodes] = above = beyond
    return above
