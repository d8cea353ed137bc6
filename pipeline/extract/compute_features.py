"""Compute missing features in chunks of items of one modality, each stored as one pack of the item cache.

Chunks are independent of shards, and the output does not depend on how they are cut.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.pack_index import Entry
from pipeline.errors import PipelineError
from pipeline.extract.aligned_samples import build_part
from pipeline.extract.needed_features import NeededFeatures, Spans, read_span
from pipeline.extract.params import ExtractParams
from pipeline.extract.read_features import ITEM_BYTES, ExtractFolders, Extractor, read_item
from pipeline.modalities.table import MODALITIES
from pipeline.incremental.compute_chunk import Chunk, ChunkResult, compute_chunk
from pipeline.tables.blob_store import TarReader
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import open_row_file

MAX_ITEMS = 256
"""Most items of a chunk: about a second of work at 3 ms an item."""

MAX_BYTES = 16 << 20
"""Most bytes of a chunk's features, which are in memory until the chunk ends."""

MIN_CHUNKS = 32
"""Fewest chunks of a modality with as many items: a kill loses the chunks in progress."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureTask(Chunk):
    """Items of the cleaned table, and their spans, whose features are to be computed."""

    folders: ExtractFolders
    extractor: Extractor
    spans: Spans | None

    @property
    def estimated_bytes(self) -> int:
        """Memory for a decoded item, the features, and the libraries that compute them."""
        return ITEM_BYTES + len(self.items) * self.extractor.count_bytes()


def load_libraries(params: ExtractParams) -> None:
    """Load what the tasks of all modalities need. Nothing here may start a thread, as pyarrow does: a process with
    threads cannot be forked from."""

    for name, modality in MODALITIES.items():
        with suppress(PipelineError):  # a task of this modality raises the same
            modality.prepare(params.features[name])


def compute_features(task: FeatureTask) -> ChunkResult:
    """Compute the features of a chunk and store them in the cache.

    Raises:
        ParamsError, InputError: the modality lacks something, or an item's bytes differ from those that were cleaned.
    """
    task.extractor.prepare()
    rows = open_row_file(task.folders.tables.items).walk(task.items)
    with TarReader(task.folders.data) as reader:

        def compute(number: int, row: Row, cache_key: bytes) -> list[Entry]:
            item = read_item(build_part(row, *read_span(task.spans, number)), reader)
            return [task.extractor.compute(item, cache_key)]

        return compute_chunk(task, rows, task.folders.objects, compute)


class Chunks:
    """The missing features of one modality, cut into tasks."""

    def __init__(
        self, needed: NeededFeatures, missing: NDArray[np.int64], extractor: Extractor, folders: ExtractFolders
    ) -> None:
        self.needed = needed
        self._missing = missing
        self._extractor = extractor
        self._folders = folders
        self._chunk = limit_chunk(len(missing), extractor.count_bytes())

    def __len__(self) -> int:
        return -(-len(self._missing) // self._chunk)

    @property
    def features(self) -> int:
        """The number of missing features."""
        return len(self._missing)

    @property
    def modality(self) -> str:
        """The name of the modality."""
        return self._extractor.modality

    def find_indices(self, number: int) -> NDArray[np.int64]:
        """Return the indices of a task's features among the needed ones."""
        return self._missing[number * self._chunk : (number + 1) * self._chunk]

    def make_task(self, number: int) -> FeatureTask:
        """Return the task of this number."""
        indices, first = self.find_indices(number), number * self._chunk
        return FeatureTask(
            name=f"{self._extractor.modality} {first} to {first + len(indices) - 1} of {len(self._missing)}",
            items=self.needed.items[indices],
            cache_keys=self.needed.found.requested[indices],
            folders=self._folders,
            extractor=self._extractor,
            spans=self.needed.select_spans(indices),
        )


def limit_chunk(missing: int, feature_bytes: int) -> int:
    """Return how many items to compute in one task, of `missing` items with features of `feature_bytes` each."""
    return max(1, min(MAX_ITEMS, MAX_BYTES // max(feature_bytes, 1), missing // MIN_CHUNKS))
