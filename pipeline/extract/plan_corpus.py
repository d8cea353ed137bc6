"""Plan the whole stage from the tables, before any item is read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.extract.aligned_samples import Tables, drop_labels, find_classes, read_corpus
from pipeline.extract.learn_vocabulary import find_learner, find_learning
from pipeline.extract.needed_features import NeededFeatures, find_needed_features
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_fields import FieldPlan, plan_fields
from pipeline.extract.plan_shards import PlannedShard, plan_shards
from pipeline.extract.read_features import ExtractFolders, Extractor
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.drops import Drop
from pipeline.tables.row_files import release_arrow_memory


@dataclass(frozen=True)
class Corpus:
    """The plan of a dataset.

    Attributes:
        count: the number of aligned samples.
        unlabelled: drops of the samples that are in no shard, since their label has no number.
        shards: the planned shards, by split and number.
        needed: the features that the samples need, by modality, not looked up in the cache yet.
        frozen: the frozen vocabulary; None where it has to be learned.
    """

    count: int
    unlabelled: Sequence[Drop]
    folders: ExtractFolders
    plan: FieldPlan
    shards: Sequence[PlannedShard]
    needed: Mapping[str, NeededFeatures]
    frozen: Any | None

    @property
    def extractors(self) -> dict[str, Extractor]:
        """The extractor of each modality in use."""
        plan = self.plan
        return {name: Extractor(name, plan.params[name], plan.modality_fields(name)) for name in plan.modalities}

    @property
    def learner(self) -> str | None:
        """The modality in use that learns from the training split, if any."""
        return find_learner(self.plan)


def plan_corpus(params: ExtractParams, workspace: Workspace) -> Corpus:
    """Read the tables and plan the dataset.

    Raises:
        InputError: nothing was aligned, or the frozen vocabulary is missing or has another sha256.
    """
    tables = Tables(workspace.work.resolve() / "tables")
    folders = ExtractFolders(workspace.data.resolve(), tables, workspace.cache.resolve(), workspace.work.resolve())
    samples, items = read_corpus(folders.data, tables)
    classes = find_classes(samples, params.classes)
    usable, unlabelled = drop_labels(samples, classes, tables)
    used = [name for name, rows in samples.items.items() if (rows[usable] >= 0).any()]
    lacking = [name for name, rows in samples.items.items() if (rows[usable] < 0).any()]
    plan = plan_fields(used, lacking, params, classes)
    learner = find_learner(plan)
    frozen = find_learning(learner).read_frozen(plan.params[learner]) if learner else None
    shards = plan_shards(samples, usable, plan.fields, params)
    needed = {name: find_needed_features(name, plan, samples, items, usable) for name in plan.modalities}
    release_arrow_memory()
    return Corpus(len(samples), unlabelled, folders, plan, shards, needed, frozen)


def order_rows(shards: Sequence[PlannedShard]) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """Return the rows of all samples in the order of the shards."""
    return np.concatenate([np.empty(0, np.int64), *(shard.rows for shard in shards)])
