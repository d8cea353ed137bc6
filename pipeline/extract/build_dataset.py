"""Run a plan: compute missing features, learn the vocabulary, build the shards, and count the work."""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import numpy as np

from pipeline.incremental.evict import ObjectUse
from pipeline.incremental.pack_index import DamagedError
from pipeline.config.params import RunParams
from pipeline.extract.compute_features import Chunks, FeatureTask, compute_features
from pipeline.extract.inline_features import choose_inline, list_inline
from pipeline.extract.learn_vocabulary import TRAIN, find_learning, learn, plan_counting
from pipeline.extract.make_shard import ShardResult, ShardTask, make_shard
from pipeline.extract.plan_corpus import Corpus, order_rows
from pipeline.extract.reuse_shards import hash_assembly, list_code
from pipeline.extract.shard_recipe import Learned, Recipe
from pipeline.incremental.compute_chunk import ChunkResult
from pipeline.runtime.executor import Executor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.progress import show_progress
from shardwright.format.atomic_write import sync_behind, write_file
from shardwright.format.canonical_json import encode_canonical


class DatasetBuild:
    """Builds the dataset of one corpus; `use` records the objects that it uses of the item cache."""

    def __init__(self, corpus: Corpus, run: RunParams, use: ObjectUse) -> None:
        self._corpus = corpus
        self._run = run
        self._use = use
        self._computed: Counter[str] = Counter()
        self._recomputed = 0
        self._reused = 0
        self._chunks: list[Chunks] = []
        self._plan_missing()
        self._starts: list[int] = np.cumsum([0, *(len(chunks) - 1 for chunks in self._chunks)]).tolist()

    def count_tasks(self) -> int:
        """Return the most tasks of one kind."""
        return max(self._count_chunks(), len(self._corpus.shards))

    def _count_chunks(self) -> int:
        return sum(map(len, self._chunks))

    def _plan_missing(self) -> None:
        """Plan the tasks for missing features; first those that a vocabulary is learned from: all else waits for it."""
        choose_inline(self._corpus.shards, self._corpus.needed)
        rows = order_rows(self._corpus.shards)
        learner = self._corpus.learner
        for name, extractor in sorted(self._corpus.extractors.items(), key=lambda named: named[0] != learner):
            needed = self._corpus.needed[name]
            missing = needed.order_missing(rows)
            self._computed[name] = len(missing) + (0 if needed.inline is None else int(needed.inline.sum()))
            if len(missing):
                self._chunks.append(Chunks(needed, missing, extractor, self._corpus.folders))

    def _find_chunk(self, number: int) -> tuple[Chunks, int]:
        """Return the modality's chunks that have the task of this number, and the index of the task among them.

        The first task of each modality comes first: what a modality lacks shows before there is much work to lose.
        """
        if number < len(self._chunks):
            return self._chunks[number], 0
        rest = number - len(self._chunks)
        modality = bisect_right(self._starts, rest) - 1
        return self._chunks[modality], rest - self._starts[modality] + 1

    def _make_task(self, number: int) -> FeatureTask:
        chunks, index = self._find_chunk(number)
        return chunks.make_task(index)

    def compute_missing(self, executor: Executor) -> None:
        """Compute the missing features and store them in the item cache.

        Raises:
            ParamsError, InputError: a modality with work to do lacks something that it needs.
        """
        finished = executor.run_tasks(compute_features, LazyTasks(self._count_chunks(), self._make_task))
        total = sum(chunks.features for chunks in self._chunks)
        for number, result in show_progress(finished, total, "features", self._run, self._measure_chunk):
            chunks, index = self._find_chunk(number)
            indices, needed = chunks.find_indices(index), chunks.needed
            needed.lost.update({int(indices[at]): rejection for at, rejection in result.lost.items()})
            if result.pack is not None:
                with suppress(DamagedError):  # removed meanwhile: the shards' tasks compute what they need
                    needed.found.add(result.pack, self._corpus.folders.objects.read_rows(result.pack))

    def _measure_chunk(self, finished: tuple[int, ChunkResult]) -> tuple[int, Mapping[str, int]]:
        number, result = finished
        chunks, index = self._find_chunk(number)
        size = len(chunks.find_indices(index))
        lost = Counter(str(rejection.reason) for rejection in result.lost.values())
        return size, {chunks.modality: size - lost.total(), **lost}

    def write_learned(self, root: Path, executor: Executor) -> Recipe:
        """Learn from the training split, write the vocabulary to `root`, and return the recipe of the shards."""
        corpus, learned = self._corpus, None
        if corpus.learner is not None:
            content = encode_canonical(self._find_learned(corpus.learner, executor), indent=1) + b"\n"
            path = root / find_learning(corpus.learner).name(corpus.plan.params[corpus.learner])
            write_file(path, [content])
            learned = Learned(corpus.learner, path, hashlib.sha256(content).hexdigest())
        assembly = hash_assembly(corpus.plan, learned.sha256 if learned else None, list_code())
        return Recipe(corpus.plan, learned, assembly)

    def _find_learned(self, learner: str, executor: Executor) -> object:
        corpus = self._corpus
        if corpus.frozen is not None:
            return corpus.frozen
        extractor = corpus.extractors[learner]
        tasks = plan_counting(corpus.shards, corpus.needed[learner], extractor, corpus.folders)
        learned, results = learn(extractor, tasks, executor)
        for result in results:
            self._recomputed += result.computed
            self._use.damaged |= result.damaged
        return learned

    def make_shards(self, root: Path, recipe: Recipe, executor: Executor) -> list[ShardResult]:
        """Build the shards, the largest first so that the last is short; return their results in shard order."""
        tasks, shards = self.plan_shard_tasks(root, recipe), self._corpus.shards
        order = sorted(range(len(tasks)), key=lambda number: -len(shards[number].rows))
        finished = executor.run_tasks(make_shard, LazyTasks(len(tasks), lambda position: tasks[order[position]]))
        total = sum(len(shard.rows) for shard in shards)
        results: dict[int, ShardResult] = {}
        with sync_behind() as sync:
            for position, result in show_progress(finished, total, "samples", self._run, _measure_shard):
                results[position] = result
                shard = shards[order[position]]
                if result.shard.written is not None:
                    sync(root / shard.split / shard.name)
        ordered = [results[position] for position in sorted(results, key=lambda position: order[position])]
        for result in ordered:
            self._recomputed += result.computed
            self._reused += result.reused
            self._use.damaged |= result.damaged
            if result.cached is not None:
                self._use.published.add(result.cached)
        for needed in self._corpus.needed.values():
            self._use.touched |= set(needed.found.names)
        return ordered

    def plan_shard_tasks(self, root: Path, recipe: Recipe) -> LazyTasks[ShardTask]:
        """Plan the tasks that build the shards; statistics are over the training split."""

        def make(number: int) -> ShardTask:
            shard, needed = self._corpus.shards[number], self._corpus.needed
            return ShardTask(
                root / shard.split / shard.name,
                self._corpus.folders,
                shard.rows.tolist(),
                {name: features.locate(shard.rows) for name, features in needed.items()},
                {name: features.find_lost(shard.rows) for name, features in needed.items()},
                list_inline(shard, needed),
                recipe,
                moments=shard.split == TRAIN,
            )

        return LazyTasks(len(self._corpus.shards), make)

    def describe(self) -> list[str]:
        """Return the summary notes on the cache: `features: 29,700 reused, 300 computed (300 audio)`."""
        computed = sum(self._computed.values())
        total = sum(len(needed.found.requested) for needed in self._corpus.needed.values())
        each = ", ".join(f"{count:,} {name}" for name, count in self._computed.items() if count)
        notes = [f"features: {total - computed:,} reused, {computed:,} computed{f' ({each})' if each else ''}"]
        if self._reused:
            notes.append(f"shards: {self._reused} of {len(self._corpus.shards)} reused")
        if self._use.damaged:
            again = f"; {self._recomputed:,} features computed again" if self._recomputed else ""
            notes.append(f"the item cache had {len(self._use.damaged)} damaged objects{again}")
        return notes


def _measure_shard(finished: tuple[int, ShardResult]) -> tuple[int, Mapping[str, int]]:
    """Return the number of samples of a shard and their outcomes, for `show_progress`."""
    shard = finished[1].shard
    kept = shard.written.record.samples if shard.written else 0
    dropped = Counter(str(drop.reason) for drop in shard.drops)
    return kept + dropped.total(), {"kept": kept, **dropped}
