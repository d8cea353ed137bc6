"""Learn a vocabulary from the training split: count in parallel, learn once.

Only training samples are counted: a word that occurs in the test split alone must stay unknown to the model. Parsed
items are in the cache, so this second pass is short; with a frozen vocabulary it is skipped.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

from pipeline.extract.extractor import ExtractFolders, Extractor, make_extractors
from pipeline.extract.feature_entry import decode_parsed
from pipeline.extract.feature_reader import FeatureReader
from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.samples import SamplePart, locate_part
from pipeline.incremental.key_words import join_words
from pipeline.modalities.modality import Learning
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.executor import Executor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.tables.database import Database
from pipeline.tables.drops import Rejection
from pipeline.tables.row_files import open_row_file

if TYPE_CHECKING:
    import pyarrow as pa

TRAIN = "train"

MAX_SAMPLES = 4096
"""Most samples of a task: some 20 µs each if their words are in the cache."""


@dataclass(frozen=True, eq=False)
class CountTask:
    """Parts of training samples of one modality, with the columns that `locate_part` reads, ordered by sample, part and
    position; the plan of all fields; the objects of the cache by number; and rejections of features that no worker can
    compute, by cache key."""

    name: str
    folders: ExtractFolders
    extractor: Extractor
    parts: "pa.Table"
    plan: FieldPlan
    names: Mapping[int, str]
    lost: Mapping[bytes, Rejection]


@dataclass(frozen=True)
class CountResult:
    """Counts of the items of a task, and how many these are; how many had to be computed, since their entries were
    damaged, and the pack that has these, if any; and the damaged objects of the cache."""

    counts: Counter[str]
    items: int
    computed: int
    pack: str | None
    damaged: frozenset[str]


def find_learner(plan: FieldPlan) -> str | None:
    """Return the modality in use that learns from the training split, if any."""
    learners = [name for name in plan.params if MODALITIES[name].learning is not None]
    assert len(learners) <= 1, f"{learners} all learn; a manifest has room for one vocabulary"
    return learners[0] if learners else None


def find_learning(modality: str) -> Learning[Any]:
    """Return the learning functions of a modality that learns."""
    learning = MODALITIES[modality].learning
    assert learning is not None
    return learning


def join_parsed(extractor: Extractor, parsed: Sequence[Any], joiner: str) -> Any:
    """Return the parsed items of one feature as one."""
    if len(parsed) == 1:
        return parsed[0]
    join = find_learning(extractor.modality).join
    assert join is not None, f"{extractor.modality} cannot be joined"
    return join(parsed, joiner, extractor.params)


def plan_counting(
    database: Database,
    plan: FieldPlan,
    folders: ExtractFolders,
    names: Sequence[str],
    lost: Mapping[bytes, Rejection],
) -> LazyTasks[CountTask]:
    """Plan the tasks that count over the training samples: they follow one another in the table."""
    learner = find_learner(plan)
    assert learner is not None
    extractor = make_extractors(plan)[learner]
    found = database.fetch("SELECT min(sample), max(sample) + 1 FROM usable WHERE split = $train", {"train": TRAIN})
    first, end = found[0] if found[0][0] is not None else (0, 0)

    def build(number: int) -> CountTask:
        start = first + number * MAX_SAMPLES
        stop = min(start + MAX_SAMPLES, end)
        found = database.take(
            """
            SELECT * FROM located WHERE sample >= $start AND sample < $stop AND modality = $learner
            ORDER BY sample, part, position
            """,
            {"start": start, "stop": stop, "learner": learner},
        )
        parts = join_words(found)
        used = select_names(parts, names)
        return CountTask(f"training texts {start} to {stop - 1}", folders, extractor, parts, plan, used, lost)

    return LazyTasks(-(-(end - first) // MAX_SAMPLES), build)


def select_names(parts: "pa.Table", names: Sequence[str]) -> dict[int, str]:
    """Return the names of the objects that have the features of these parts, by number."""
    return {number: names[number] for number in parts["object"].drop_null().unique().to_pylist()}


def learn(extractor: Extractor, tasks: Sequence[CountTask], executor: Executor) -> tuple[Any, list[CountResult]]:
    """Return what the modality learns from the training samples, as JSON, and the results of the tasks.

    Raises:
        InputError: it does not fit the training samples; the message says what to set.
    """
    results = [result for _, result in executor.run_tasks(count_items, tasks)]
    total: Counter[str] = Counter()
    for result in results:
        total.update(result.counts)  # sums do not depend on the order in which tasks finish
    learning = find_learning(extractor.modality)
    learned = learning.learn(total, extractor.params)
    learning.check_learned(total, sum(result.items for result in results), learned, extractor.params)
    return learned, results


def count_items(task: CountTask) -> CountResult:
    """Count over the items of a task."""
    extractor, total, counted = task.extractor, Counter[str](), 0
    learning = find_learning(extractor.modality)
    identity = b"".join(task.parts["key"].to_pylist())
    with FeatureReader(task.folders, task.names, identity) as reader:
        for items in _walk_features(task):
            entries = [reader.read(extractor, item) for item in items if item.key not in task.lost]
            parsed = [decode_parsed(entry.pieces) for entry in entries if not isinstance(entry, Rejection)]
            if parsed:
                joined = join_parsed(extractor, parsed, task.plan.joiners.get(items[0].name, ""))
                total.update(learning.count(joined, extractor.params))
                counted += 1
        return CountResult(total, counted, reader.computed, reader.pack.finish(), frozenset(reader.damaged))


def _walk_features(task: CountTask) -> Iterator[Sequence[SamplePart]]:
    """Yield the items of each feature of a task."""
    rows = open_row_file(task.folders.items).walk(task.parts["item"].to_numpy())
    pairs = zip(task.parts.to_pylist(), rows, strict=True)
    for (_, name), found in groupby(pairs, lambda pair: (pair[0]["sample"], pair[0]["part"])):
        yield from task.plan.group_items(name, [locate_part(part, row) for part, row in found])
