"""Learn a vocabulary from the training split: count in parallel, learn once.

Only training samples are counted: a word that occurs in the test split alone must stay unknown to the model. Parsed
items are in the cache, so this second pass is short; with a frozen vocabulary it is skipped.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.incremental.feature_entries import decode_parsed
from pipeline.incremental.lookup import EntryLocations, Numbers
from pipeline.extract.aligned_samples import build_part
from pipeline.extract.needed_features import NeededFeatures, Spans, read_span
from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.plan_shards import PlannedShard
from pipeline.extract.read_features import ExtractFolders, Extractor, FeatureReader
from pipeline.modalities.modality import Learning
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.executor import Executor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.tables.drops import Rejection
from pipeline.tables.row_files import open_row_file

TRAIN = "train"

MAX_SAMPLES = 4096
"""Most samples of a task: some 20 µs each if their words are in the cache."""


@dataclass(frozen=True, eq=False)
class CountTask:
    """Training samples of one modality: rows of the cleaned table, spans, and locations of the features."""

    name: str
    folders: ExtractFolders
    extractor: Extractor
    items: Numbers
    spans: Spans | None
    locations: EntryLocations


@dataclass(frozen=True)
class CountResult:
    """Counts of the items of a task, how many had to be computed, and the damaged objects of the cache."""

    counts: Counter[str]
    computed: int
    damaged: frozenset[str]


def find_learner(plan: FieldPlan) -> str | None:
    """Return the modality in use that learns from the training split, if any."""
    learners = [name for name in plan.modalities if MODALITIES[name].learning is not None]
    assert len(learners) <= 1, f"{learners} all learn; a manifest has room for one vocabulary"
    return learners[0] if learners else None


def find_learning(modality: str) -> Learning[Any]:
    """Return the learning functions of a modality that learns."""
    learning = MODALITIES[modality].learning
    assert learning is not None
    return learning


def plan_counting(
    shards: Sequence[PlannedShard], needed: NeededFeatures, extractor: Extractor, folders: ExtractFolders
) -> LazyTasks[CountTask]:
    """Plan the tasks that count over the training samples."""
    rows = [shard.rows for shard in shards if shard.split == TRAIN]
    train: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *rows])
    train = train[needed.of_sample[train] >= 0]

    def make(number: int) -> CountTask:
        start = number * MAX_SAMPLES
        part = train[start : start + MAX_SAMPLES]
        indices = needed.of_sample[part]
        name = f"training samples {start} to {start + len(part) - 1}"
        spans, locations = needed.select_spans(indices), needed.locate(part)
        return CountTask(name, folders, extractor, needed.items[indices], spans, locations)

    return LazyTasks(-(-len(train) // MAX_SAMPLES), make)


def learn(extractor: Extractor, tasks: Sequence[CountTask], executor: Executor) -> tuple[Any, list[CountResult]]:
    """Return what the modality learns from the training samples, as JSON, and the results of the tasks."""
    results = [result for _, result in executor.run_tasks(count_items, tasks)]
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.counts)  # sums do not depend on the order in which tasks finish
    return find_learning(extractor.modality).learn(total, extractor.params), results


def count_items(task: CountTask) -> CountResult:
    """Count over the items of a task."""
    extractor, total = task.extractor, Counter[str]()
    learning = find_learning(extractor.modality)
    rows = open_row_file(task.folders.tables.items).walk(task.items)
    with FeatureReader(task.folders, {extractor.modality: extractor}) as reader:
        for at, row in enumerate(rows):
            entry = reader.read(extractor.modality, task.locations, at, build_part(row, *read_span(task.spans, at)))
            if not isinstance(entry, Rejection):
                total.update(learning.count(decode_parsed(entry.pieces), extractor.params))
        reader.store_computed()
        return CountResult(total, reader.computed, frozenset(reader.damaged))
