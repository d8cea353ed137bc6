"""What a feature takes from the whole training split, such as the vocabulary: counted in parallel, learned once.

Only training samples are counted: a word that stands in the test split alone must stay unknown to the model. What items
were parsed to is in the cache, so this second pass is short; and it is left out where the params name what was learned.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.feature_entries import decode_parsed
from pipeline.cache.lookup import EntryLocations, Numbers
from pipeline.extract.aligned_samples import make_part
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
"""Of a task: some 20 µs each where their words are in the cache."""


@dataclass(frozen=True, eq=False)
class CountTask:
    """What some training samples have of one modality: rows of the cleaned table, spans, and where the features are."""

    name: str
    folders: ExtractFolders
    extractor: Extractor
    items: Numbers
    spans: Spans | None
    placed: EntryLocations


@dataclass(frozen=True)
class CountResult:
    """What the items add to the counts, how many had to be computed, and which objects of the cache are damaged."""

    counts: Counter[str]
    computed: int
    damaged: frozenset[str]


def find_learner(plan: FieldPlan) -> str | None:
    """The modality in use that learns, if any."""
    learners = [name for name in plan.modalities if MODALITIES[name].learning is not None]
    assert len(learners) <= 1, f"{learners} all learn; a manifest has room for one vocabulary"
    return learners[0] if learners else None


def find_learning(modality: str) -> Learning[Any]:
    """How a modality that learns does it."""
    learning = MODALITIES[modality].learning
    assert learning is not None
    return learning


def plan_counting(
    shards: Sequence[PlannedShard], wanted: NeededFeatures, extractor: Extractor, folders: ExtractFolders
) -> LazyTasks[CountTask]:
    """The tasks that count what the training samples have."""
    rows = [shard.rows for shard in shards if shard.split == TRAIN]
    train: NDArray[np.int64] = np.concatenate([np.empty(0, np.int64), *rows])
    train = train[wanted.of_sample[train] >= 0]

    def make(number: int) -> CountTask:
        start = number * MAX_SAMPLES
        part = train[start : start + MAX_SAMPLES]
        places = wanted.of_sample[part]
        name = f"training samples {start} to {start + len(part) - 1}"
        spans, placed = wanted.take_spans(places), wanted.place_samples(part)
        return CountTask(name, folders, extractor, wanted.items[places], spans, placed)

    return LazyTasks(-(-len(train) // MAX_SAMPLES), make)


def learn(extractor: Extractor, tasks: Sequence[CountTask], workers: Executor) -> tuple[Any, list[CountResult]]:
    """What the modality learns from the training samples: JSON; and the results of the tasks."""
    results = [result for _, result in workers.run_tasks(count_items, tasks)]
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.counts)  # sums: the order in which tasks finish does not matter
    return find_learning(extractor.modality).learn(total, extractor.params), results


def count_items(task: CountTask) -> CountResult:
    """What the task's items add to the counts."""
    extractor, total = task.extractor, Counter[str]()
    learning = find_learning(extractor.modality)
    rows = open_row_file(task.folders.tables.items).walk(task.items)
    with FeatureReader(task.folders, {extractor.modality: extractor}) as reader:
        for at, row in enumerate(rows):
            entry = reader.read(extractor.modality, task.placed, at, make_part(row, *read_span(task.spans, at)))
            if not isinstance(entry, Rejection):
                total.update(learning.count(decode_parsed(entry.pieces), extractor.params))
        reader.keep_computed()
        return CountResult(total, reader.computed, frozenset(reader.damaged))
