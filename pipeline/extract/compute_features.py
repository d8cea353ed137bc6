"""Computes the features that the cache does not have: chunks of items of one modality, each into a pack of its own.

Chunks have nothing to do with shards, and no byte of the output depends on how they are cut.
"""

from contextlib import suppress
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.pack_index import Entry
from pipeline.errors import PipelineError
from pipeline.extract.aligned_samples import make_part
from pipeline.extract.needed_features import NeededFeatures, Spans, read_span
from pipeline.extract.params import ExtractParams
from pipeline.extract.read_features import ITEM_BYTES, ExtractFolders, Extractor, read_item
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.compute_chunk import Chunk, ChunkResult, compute_chunk
from pipeline.tables.blob_store import TarReader
from pipeline.tables.parquet import Row
from pipeline.tables.row_files import open_row_file

MAX_ITEMS = 256
"""Of a chunk: about a second of work where an item takes 3 ms."""

MAX_BYTES = 16 << 20
"""Of a chunk's features, which are in memory until all are there."""

MIN_CHUNKS = 32
"""Of a modality, where it has as many items: what a kill takes is the chunks that were under way."""


@dataclass(frozen=True, eq=False, kw_only=True)
class FeatureTask(Chunk):
    """Items of the cleaned table, and the span of each, whose features are to be computed."""

    folders: ExtractFolders
    extractor: Extractor
    spans: Spans | None

    @property
    def estimated_bytes(self) -> int:
        """Of memory: an item decoded, the features, and what is imported to compute them."""
        return ITEM_BYTES + len(self.items) * self.extractor.count_bytes()


def load_libraries(params: ExtractParams) -> None:
    """Load what the tasks of all modalities need, and this module; nothing that starts a thread, as pyarrow does: a
    process with threads cannot be forked from."""

    for name, modality in MODALITIES.items():
        with suppress(PipelineError):  # whoever has a task of it meets the same, and says so
            modality.prepare(getattr(params, name))


def compute_features(task: FeatureTask) -> ChunkResult:
    """Compute the features of a chunk and store them in the cache.

    Raises:
        ParamsError, InputError: the modality lacks something; or an item's bytes are not those that were cleaned.
    """
    task.extractor.prepare()
    rows = open_row_file(task.folders.tables.items).walk(task.items)
    with TarReader(task.folders.data) as reader:

        def compute(number: int, row: Row, fingerprint: bytes) -> list[Entry]:
            item = read_item(make_part(row, *read_span(task.spans, number)), reader)
            return [task.extractor.compute(item, fingerprint)]

        return compute_chunk(task, rows, task.folders.objects, compute)


class Chunks:
    """The missing features of one modality, cut into tasks."""

    def __init__(
        self, wanted: NeededFeatures, missing: NDArray[np.int64], extractor: Extractor, folders: ExtractFolders
    ) -> None:
        self.wanted = wanted
        self._missing = missing
        self._extractor = extractor
        self._folders = folders
        self._chunk = limit_chunk(len(missing), extractor.count_bytes())

    def __len__(self) -> int:
        return -(-len(self._missing) // self._chunk)

    @property
    def features(self) -> int:
        """How many there are."""
        return len(self._missing)

    @property
    def modality(self) -> str:
        """Its name."""
        return self._extractor.modality

    def find_places(self, number: int) -> NDArray[np.int64]:
        """The places, among those wanted, of the features of a task."""
        return self._missing[number * self._chunk : (number + 1) * self._chunk]

    def make_task(self, number: int) -> FeatureTask:
        """The task of that number."""
        places, first = self.find_places(number), number * self._chunk
        return FeatureTask(
            name=f"{self._extractor.modality} {first} to {first + len(places) - 1} of {len(self._missing)}",
            items=self.wanted.items[places],
            prints=self.wanted.found.wanted[places],
            folders=self._folders,
            extractor=self._extractor,
            spans=self.wanted.take_spans(places),
        )


def limit_chunk(missing: int, feature_bytes: int) -> int:
    """How many of so many items to compute in one task, for features of so many bytes each."""
    return max(1, min(MAX_ITEMS, MAX_BYTES // max(feature_bytes, 1), missing // MIN_CHUNKS))
