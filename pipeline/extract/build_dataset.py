"""Run a plan: compute missing features, learn the vocabulary, build the shards, and count the work."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.config.params import RunParams
from pipeline.extract.cached_shards import hash_assembly, list_code
from pipeline.extract.compute_features import compute_features, count_missing, plan_chunks, plan_missing
from pipeline.extract.extractor import ExtractFolders, Learned, Recipe
from pipeline.extract.learn_vocabulary import TRAIN, find_learning, learn, plan_counting, select_names
from pipeline.extract.make_shard import ShardResult, ShardTask, make_shard
from pipeline.extract.plan_corpus import Corpus
from pipeline.incremental.compute_chunk import compute_missing
from pipeline.incremental.evict import ObjectUse
from pipeline.incremental.key_words import join_words
from pipeline.incremental.lookup import EntryLookup
from pipeline.modalities.modality import TokenTally
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.executor import Executor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.progress import show_progress
from pipeline.tables.database import Database
from pipeline.tables.drops import Rejection
from shardwright.format.atomic_write import sync_behind, write_file
from shardwright.format.canonical_json import encode_canonical


class DatasetBuild:
    """Builds the dataset of one corpus; `use` records the objects that it uses of the item cache."""

    def __init__(
        self, database: Database, corpus: Corpus, folders: ExtractFolders, run: RunParams, use: ObjectUse
    ) -> None:
        self._database = database
        self._corpus = corpus
        self._folders = folders
        self._run = run
        self._use = use
        self._lost: dict[bytes, Rejection] = {}
        self._recomputed = self._reused = 0
        self._lookup = EntryLookup(database, folders.objects)
        self._lookup.search("sample, part, position")
        self._found = self._lookup.count()
        plan_missing(database, corpus.shards, corpus.plan.most)
        self._computed = count_missing(database)
        self._chunks = plan_chunks(database, corpus.extractors, corpus.learner, folders)

    def count_tasks(self) -> int:
        """Return the most tasks of one kind."""
        return max(len(self._chunks), len(self._corpus.shards))

    def compute_missing(self, executor: Executor) -> None:
        """Compute the missing features that are not inline, and note where they are in the table `located`.

        Raises:
            ParamsError, InputError: a modality with work to do lacks something that it needs.
        """
        self._lost = compute_missing(executor, compute_features, self._chunks, self._lookup, self._run)

    def write_learned(self, root: Path, executor: Executor) -> Recipe:
        """Learn from the training split, write the vocabulary to `root`, and return the recipe of the shards.

        Raises:
            InputError: what was learned does not fit the training split.
        """
        corpus, learned = self._corpus, None
        if corpus.learner is not None:
            content = encode_canonical(self._find_learned(corpus.learner, executor), indent=1) + b"\n"
            path = root / find_learning(corpus.learner).name(corpus.plan.params[corpus.learner])
            write_file(path, [content])
            learned = Learned(corpus.learner, path, hashlib.sha256(content).hexdigest())
        assembly = hash_assembly(corpus.plan, learned.sha256 if learned else None, list_code())
        return Recipe(corpus.plan, learned, assembly)

    def _find_learned(self, learner: str, executor: Executor) -> object:
        if self._corpus.frozen is not None:
            return self._corpus.frozen
        extractor = self._corpus.extractors[learner]
        tasks = plan_counting(self._database, self._corpus.plan, self._folders, self._lookup.names, self._lost)
        learned, results = learn(extractor, tasks, executor)
        for result in results:
            self._recomputed += result.computed
            self._use.damaged |= result.damaged
        packs = [result.pack for result in results if result.pack is not None]
        if packs:  # else the shards would find the same entries damaged, and compute them once more
            self._lookup.replace(packs)
        return learned

    def make_shards(self, root: Path, recipe: Recipe, executor: Executor) -> list[ShardResult]:
        """Build the shards, the largest first so that the last is short; return their results in shard order."""
        tasks, shards = self.plan_shard_tasks(root, recipe), self._corpus.shards
        order = sorted(range(len(tasks)), key=lambda number: -shards[number].samples)
        finished = executor.run_tasks(make_shard, LazyTasks(len(tasks), lambda position: tasks[order[position]]))
        total = sum(shard.samples for shard in shards)
        results: dict[int, ShardResult] = {}
        with sync_behind() as sync:
            for position, result in show_progress(finished, total, "samples", self._run, _measure_shard):
                results[order[position]] = result
                shard = shards[order[position]]
                if result.shard.written is not None:
                    sync(root / shard.split / shard.name)
        for result in results.values():
            self._recomputed += result.computed
            self._reused += result.reused
            self._use.damaged |= result.damaged
            if result.cached is not None:
                self._use.published.add(result.cached)
        self._use.touched |= self._lookup.list_used()
        self._use.damaged |= self._lookup.damaged
        return [results[number] for number in range(len(shards))]

    def plan_shard_tasks(self, root: Path, recipe: Recipe) -> LazyTasks[ShardTask]:
        """Plan the tasks that build the shards; statistics are over the training split."""

        def build(number: int) -> ShardTask:
            shard = self._corpus.shards[number]
            bounds = {"first": shard.first, "last": shard.last}
            where = "WHERE sample >= $first AND sample <= $last ORDER BY sample"
            samples = self._database.take(f"SELECT * FROM usable {where}", bounds)
            parts = join_words(self._database.take(f"SELECT * FROM located {where}, part, position", bounds))
            keys = parts["key"].to_pylist() if self._lost else ()
            return ShardTask(
                path=root / shard.split / shard.name,
                folders=self._folders,
                recipe=recipe,
                samples=samples,
                parts=parts,
                names=select_names(parts, self._lookup.names),
                lost={key: self._lost[key] for key in keys if key in self._lost},
                moments=shard.split == TRAIN,
            )

        return LazyTasks(len(self._corpus.shards), build)

    def review(self, results: Sequence[ShardResult]) -> list[str]:
        """Return the summary notes on what the features lack of the items.

        Raises:
            InputError: what was learned does not fit the training split.
        """
        plan, notes = self._corpus.plan, []
        if self._corpus.learner is not None:
            params, training, total = plan.params[self._corpus.learner], TokenTally(), TokenTally()
            for shard, result in zip(self._corpus.shards, results, strict=True):
                total += result.shard.tally
                training += result.shard.tally if shard.split == TRAIN else TokenTally()
            notes.append(find_learning(self._corpus.learner).review(training, total, params))
        for name, (count, longer) in self._corpus.clips.items():
            key = MODALITIES[name].clip
            seconds = f"extract.{name}.{key} {getattr(plan.params[name], key):g}"
            notes.append(f"{name}: {longer:,} of {count:,} items longer than {seconds}")
        return notes

    def describe(self) -> list[str]:
        """Return the summary notes on the cache: `features: 29,700 reused, 300 computed (300 audio)`."""
        computed = sum(self._computed.values())
        each = ", ".join(f"{count:,} {name}" for name, count in self._computed.items() if count)
        notes = [f"features: {self._found:,} reused, {computed:,} computed{f' ({each})' if each else ''}"]
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
