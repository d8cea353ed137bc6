"""What a feature takes from the whole training split, such as the vocabulary: counted in parallel, learned once.

Only training samples are counted: a word that stands in the test split alone must stay unknown to the model.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.execute import Workers
from pipeline.extract.fields import FieldPlan
from pipeline.extract.plan import PlannedShard
from pipeline.extract.samples import Part
from pipeline.modalities.modality import Item
from pipeline.modalities.table import MODALITIES
from pipeline.params import Params
from pipeline.store import TarReader

TRAIN = "train"


@dataclass(frozen=True)
class CountTask:
    """The items of one modality in one training shard; `data` is the data folder."""

    name: str
    data: Path
    modality: str
    params: Params
    parts: tuple[Part, ...]


def find_learner(plan: FieldPlan) -> str | None:
    """The modality in use that learns, if any."""
    learners = [name for name in plan.modalities if MODALITIES[name].learn is not None]
    assert len(learners) <= 1, f"{learners} all learn; a manifest has room for one vocabulary"
    return learners[0] if learners else None


def learn(modality: str, plan: FieldPlan, shards: Sequence[PlannedShard], data: Path, workers: Workers) -> Any:
    """What the modality learns from the training shards: JSON. `data` is the data folder."""
    learner = MODALITIES[modality].learn
    assert learner is not None
    total: Counter[str] = Counter()
    for _, counts in workers.run_tasks(count_items, list(_plan_counting(modality, plan, shards, data))):
        total.update(counts)  # sums: the order in which tasks finish does not matter
    return learner(total, plan.params[modality])


def _plan_counting(modality: str, plan: FieldPlan, shards: Sequence[PlannedShard], data: Path) -> Iterator[CountTask]:
    for shard in shards:
        parts = tuple(sample.parts[modality] for sample in shard.samples if modality in sample.parts)
        if shard.split == TRAIN and parts:
            yield CountTask(shard.name, data, modality, plan.params[modality], parts)


def count_items(task: CountTask) -> Counter[str]:
    """What the task's items add to the counts."""
    count = MODALITIES[task.modality].count
    assert count is not None
    total: Counter[str] = Counter()
    with TarReader(task.data) as reader:
        for part in task.parts:
            total.update(count(read_item(part, reader), task.params))
    return total


def read_item(part: Part, reader: TarReader) -> Item:
    """The item of a part, with its bytes."""
    return Item(reader.read(part.place), part.media_type, part.orientation, part.start, part.end)
