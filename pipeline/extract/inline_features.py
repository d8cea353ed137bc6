"""Compute features that only one shard needs in the task that builds the shard, so that they are written once.

With few such shards, chunks are better tasks (`pipeline.extract.compute_features`): they are smaller, so a kill loses
less, and spread over all workers. The output is the same either way.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.lookup import ABSENT, EntryLocations
from pipeline.extract.aligned_samples import AlignedSample, format_origin
from pipeline.extract.needed_features import NeededFeatures
from pipeline.extract.plan_shards import PlannedShard
from pipeline.extract.read_features import FeatureReader
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.sandbox.heartbeat import enter_item, leave_items
from pipeline.tables.drops import Rejection

MIN_SHARDS = 64
"""Fewest shards with inline features: a kill loses the shards in progress, which must be a small part."""

MAX_FEATURES = 2048
"""Most inline features of a shard: a few seconds of work."""

InlineKeys = Sequence[tuple[str, int]]
"""Modality and position in the shard of each feature that its task computes, in that order."""


def choose_inline(shards: Sequence[PlannedShard], needed: Mapping[str, NeededFeatures]) -> None:
    """Set `NeededFeatures.inline` for the features to compute with their shards, if any.

    These are missing from the cache, needed by one sample only, and not part of what a vocabulary is learned from.
    """
    single = {name: _find_single(each) for name, each in needed.items() if MODALITIES[name].learning is None}
    counts = np.zeros(len(shards), np.int64)
    for name, features in single.items():
        of_sample = needed[name].of_sample
        counts += [int(features[_drop_absent(of_sample[shard.rows])].sum()) for shard in shards]
    if np.count_nonzero(counts) >= MIN_SHARDS and counts.max() <= MAX_FEATURES:
        for name, features in single.items():
            needed[name].inline = features


def _find_single(needed: NeededFeatures) -> NDArray[np.bool_]:
    """Return a mask of the features that are missing and needed by one sample only."""
    users = np.bincount(_drop_absent(needed.of_sample), minlength=len(needed.found.requested))
    single: NDArray[np.bool_] = (users == 1) & (needed.found.objects == ABSENT)
    return single


def _drop_absent(indices: NDArray[np.int32]) -> NDArray[np.int32]:
    return indices[indices >= 0]


def list_inline(shard: PlannedShard, needed: Mapping[str, NeededFeatures]) -> InlineKeys:
    """Return the features that the task of a shard computes, sample by sample."""
    inline = [(name, at) for name, each in needed.items() for at in each.find_inline(shard.rows)]
    return sorted(inline, key=lambda feature: feature[1])


class InlineFeatures:
    """Computes the inline features of a shard sample by sample, except lost ones, and hands them to the reader.

    If some are lost, the reader stores the others for the next try of the task.

    Raises:
        ParamsError, InputError: a modality lacks something that it needs.
    """

    def __init__(
        self,
        inline: InlineKeys,
        samples: Sequence[AlignedSample],
        features: Mapping[str, EntryLocations],
        reader: FeatureReader,
    ) -> None:
        self._inline = inline
        self._samples = samples
        self._reader = reader
        self._keys = [features[modality].encode_key(at) for modality, at in inline]
        self._numbers: dict[int, list[int]] = {}
        for number, (_, at) in enumerate(inline):
            self._numbers.setdefault(at, []).append(number)
        for modality in sorted({modality for modality, _ in inline}):
            reader.prepare(modality)

    def resume(self) -> None:
        """Load what earlier tries of the task computed, and store what this one computes for the next."""
        self._reader.resume(b"".join(self._keys))

    def compute(self, at: int, lost: Mapping[str, Mapping[int, Rejection]]) -> None:
        """Compute the inline features of the sample at this position.

        Raises:
            InputError: an item's bytes differ from those that were cleaned.
        """
        for number in self._numbers.get(at, ()):
            modality, _ = self._inline[number]
            enter_item(number, len(self._inline))
            if at in lost[modality] or self._keys[number] in self._reader:
                continue
            part = self._samples[at].parts[modality]
            try:
                self._reader.compute(modality, self._keys[number], part)
            except Exception as error:
                error.add_note(f"at {format_origin(part.origin)}")
                raise
        leave_items()

    def release(self, at: int) -> None:
        """Forget the features of the sample at this position: it is in the shard."""
        for number in self._numbers.get(at, ()):
            self._reader.release(self._keys[number])

    def compute_isolated(self, lost: Mapping[str, Mapping[int, Rejection]]) -> None:
        """Compute the one feature that is not lost: it ended a process, or was in progress when one ended. If it
        succeeds, results of earlier tries are discarded: see `pipeline.incremental.compute_chunk.compute_chunk`."""
        for at in self._numbers:
            self.compute(at, lost)
        self._reader.forget_earlier(b"".join(self._keys))
