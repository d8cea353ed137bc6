"""Features that one shard alone needs: computed by the task that makes it, they are written once, in the shard.

Where there are few such shards, chunks are the better tasks (`pipeline.extract.compute_features`): smaller, for a kill
takes
what was under way, and spread over all workers. No byte of the output depends on which way a feature came.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.lookup import ABSENT, EntryLocations
from pipeline.extract.aligned_samples import AlignedSample, name_origin
from pipeline.extract.needed_features import NeededFeatures
from pipeline.extract.plan_shards import PlannedShard
from pipeline.extract.read_features import FeatureReader
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.sandbox.heartbeat import enter_item, leave_items
from pipeline.tables.drops import Rejection

MIN_SHARDS = 64
"""That have features of their own: what a kill takes is the shards that were under way."""

MAX_FEATURES = 2048
"""Of a shard: some seconds of work."""

InlineKeys = Sequence[tuple[str, int]]
"""Modality and place in the shard of each feature that its task computes, in that order."""


def choose_inline(shards: Sequence[PlannedShard], wanted: Mapping[str, NeededFeatures]) -> None:
    """Mark the features that are to be computed with their shards, if there are any: `NeededFeatures.own`.

    They are in no object of the cache, one sample alone needs them, and nothing is learned from them.
    """
    single = {name: _find_single(each) for name, each in wanted.items() if MODALITIES[name].learning is None}
    counts = np.zeros(len(shards), np.int64)
    for name, features in single.items():
        of_sample = wanted[name].of_sample
        counts += [int(features[_drop_absent(of_sample[shard.rows])].sum()) for shard in shards]
    if np.count_nonzero(counts) >= MIN_SHARDS and counts.max() <= MAX_FEATURES:
        for name, features in single.items():
            wanted[name].own = features


def _find_single(wanted: NeededFeatures) -> NDArray[np.bool_]:
    """Which features are missing and needed by one sample only."""
    users = np.bincount(_drop_absent(wanted.of_sample), minlength=len(wanted.found.wanted))
    single: NDArray[np.bool_] = (users == 1) & (wanted.found.objects == ABSENT)
    return single


def _drop_absent(places: NDArray[np.int32]) -> NDArray[np.int32]:
    return places[places >= 0]


def list_inline(shard: PlannedShard, wanted: Mapping[str, NeededFeatures]) -> InlineKeys:
    """The features that the task of a shard computes: sample by sample."""
    own = [(name, at) for name, each in wanted.items() for at in each.find_own(shard.rows)]
    return sorted(own, key=lambda feature: feature[1])


class InlineFeatures:
    """Computes the features of a shard's own, sample by sample, but those that are lost; the reader has them then.

    Where some are lost, the reader keeps the others for the next try of the task.

    Raises:
        ParamsError, InputError: a modality lacks something.
    """

    def __init__(
        self,
        own: InlineKeys,
        samples: Sequence[AlignedSample],
        features: Mapping[str, EntryLocations],
        reader: FeatureReader,
    ) -> None:
        self._own = own
        self._samples = samples
        self._reader = reader
        self._prints = [features[modality].encode_key(at) for modality, at in own]
        self._numbers: dict[int, list[int]] = {}
        for number, (_, at) in enumerate(own):
            self._numbers.setdefault(at, []).append(number)
        for modality in sorted({modality for modality, _ in own}):
            reader.prepare(modality)

    def go_on(self) -> None:
        """Take what an earlier try of the task computed, and leave what this one does to the next."""
        self._reader.go_on(b"".join(self._prints))

    def compute(self, at: int, lost: Mapping[str, Mapping[int, Rejection]]) -> None:
        """Compute those of the sample at this place.

        Raises:
            InputError: an item's bytes are not those that were cleaned.
        """
        for number in self._numbers.get(at, ()):
            modality, _ = self._own[number]
            enter_item(number, len(self._own))
            if at in lost[modality] or self._prints[number] in self._reader:
                continue
            part = self._samples[at].parts[modality]
            try:
                self._reader.compute(modality, self._prints[number], part)
            except Exception as error:
                error.add_note(f"at {name_origin(part.origin)}")
                raise
        leave_items()

    def release(self, at: int) -> None:
        """Let go of those of the sample at this place: it is in the shard."""
        for number in self._numbers.get(at, ()):
            self._reader.release(self._prints[number])

    def compute_alone(self, lost: Mapping[str, Mapping[int, Rejection]]) -> None:
        """Compute the one that is not lost, which ended a process or was there when one ended; if it does well, nothing
        of an earlier try is taken: see `pipeline.runtime.compute_chunk.compute_chunk`."""
        for at in self._numbers:
            self.compute(at, lost)
        self._reader.start_anew(b"".join(self._prints))
