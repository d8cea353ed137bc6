"""Marks duplicates: which items of a modality are the same bytes, and which look, sound or read the same."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.clean.level import level_thumbnails
from pipeline.clean.near import find_near_clusters
from pipeline.clean.params import Nearness
from pipeline.components import Indexes, find_components
from pipeline.modalities.modality import Fingerprint


@dataclass(frozen=True, slots=True)
class Clusters:
    """For each item of one modality, in the order of ids, the smallest index of its exact and of its near cluster."""

    exact: Indexes
    near: Indexes


def find_clusters(sha256s: Sequence[str], fingerprints: Sequence[Fingerprint], nearness: Nearness) -> Clusters:
    """Clusters of the items with these cleaned bytes and fingerprints. Exact duplicates are always near.

    (Not so by their fingerprints alone: two pictures of the same bytes may be turned by different EXIF orientations.)
    """
    if not sha256s:
        return Clusters(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    exact = _find_first(sha256s)
    bits = np.array([look.bits for look in fingerprints], dtype=np.uint64)
    cells = np.frombuffer(b"".join(look.thumbnail for look in fingerprints), dtype=np.uint8)
    thumbnails = level_thumbnails(cells.reshape(len(bits), -1))
    near = find_near_clusters(bits, thumbnails, nearness.bits, nearness.difference)
    return Clusters(exact, find_components(len(exact), exact, near)[near])


def _find_first(values: Sequence[str]) -> Indexes:
    """For each value the index where it stands first."""
    first: dict[str, int] = {}
    return np.array([first.setdefault(value, index) for index, value in enumerate(values)], dtype=np.int64)
