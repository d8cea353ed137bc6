"""Marks duplicates: which items of a modality are the same bytes, and which look, sound or read the same."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.clean.near import Bits, Thumbnails, find_near_clusters
from pipeline.clean.params import Nearness
from pipeline.components import Indexes, find_components


@dataclass(frozen=True, slots=True)
class Clusters:
    """For each item of one modality, in the order of ids, the smallest index of its exact and of its near cluster."""

    exact: Indexes
    near: Indexes


def find_clusters(sha256s: NDArray[np.bytes_], bits: Bits, thumbnails: Thumbnails, nearness: Nearness) -> Clusters:
    """Clusters of items by cleaned bytes, S32 (n,), bits, uint64 (n,), and levelled thumbnails, uint8 (n, cells).

    Exact duplicates are always near. (Not so by their fingerprints alone: two pictures of the same bytes may be turned
    by different EXIF orientations.)
    """
    if not len(sha256s):
        return Clusters(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    _, first, place = np.unique(sha256s, return_index=True, return_inverse=True)
    exact = first[place]
    near = find_near_clusters(bits, thumbnails, nearness.bits, nearness.difference)
    return Clusters(exact, find_components(len(exact), exact, near)[near])
