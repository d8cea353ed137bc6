"""Run the stage `clean`: check new items in parallel, write what changed, mark duplicates, write the cleaned table."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from pipeline.clean.check_items import check_items, plan_checks, request_checks
from pipeline.clean.cleaned_table import Clusters, cluster_items, count_redactions, describe_clusters, write_items
from pipeline.clean.cleaned_tars import MAX_ITEMS, TarPlan, plan_tar_tasks, plan_tars, write_cleaned_tar
from pipeline.clean.findings import Findings, add_rejections, collect_findings
from pipeline.clean.params import CleanParams
from pipeline.errors import PipelineError
from pipeline.incremental.compute_chunk import compute_missing
from pipeline.incremental.evict import ObjectUse, describe_eviction, evict
from pipeline.incremental.key_words import KEY, join_words
from pipeline.incremental.library_versions import describe_environment
from pipeline.incremental.lookup import EntryLookup
from pipeline.incremental.stage_folders import StageFolders
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.executor import Executor, open_executor
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.columns import read_hashes
from pipeline.tables.contracts import CLEANED_FOLDER, INGESTED_ITEMS, ITEMS
from pipeline.tables.database import Database, open_database
from pipeline.tables.dropped_rows import DroppedRows
from pipeline.tables.drops import DropCounts, Outcome, check_drop_share, check_machine_drops
from pipeline.tables.table_files import count_rows, read_batches

MAX_ROUNDS = 3
"""How often what turns out to be damaged in the cache is computed again before the disk is to blame."""


def clean(params: CleanParams, workspace: Workspace) -> Outcome:
    """Check every ingested item, mark duplicates, and write `3_cleaned`. Drops unfit items, but no duplicates.

    Raises:
        TooManyDrops: more than `params.max_dropped` of the items are unfit.
        MachineDrops: items were dropped because of this machine, and `run.allow_machine_drops` is false.
        InputError: the ingested table or bytes are missing or damaged.
    """
    work = workspace.work.resolve()
    folders = StageFolders(workspace.data.resolve(), workspace.cache.resolve(), work)
    (work / CLEANED_FOLDER).mkdir(parents=True)
    with open_database(work, workspace.run) as database, folders.objects.hold():
        run = CheckRun(database, folders, params, workspace)
        run.check_all()
        notes = [*run.write(), *run.describe()]
        counts = run.write_dropped()
    outcome = Outcome("item", run.items, int(np.count_nonzero(run.findings.kept)), counts)
    check_machine_drops(outcome, workspace.run.allow_machine_drops)
    check_drop_share(outcome, params.max_dropped, "clean.max_dropped")
    evicted = evict(folders.objects, run.use, workspace.run.cache_bytes)
    return replace(outcome, notes=[*notes, *describe_eviction(evicted)])


class CheckRun:
    """The checks of all items, and what is written of them.

    Attributes:
        items: how many there are.
        findings: on them.
        use: the objects of the cache that are used.
    """

    def __init__(self, database: Database, folders: StageFolders, params: CleanParams, workspace: Workspace) -> None:
        self._database = database
        self._folders = folders
        self._params = params
        self._run = workspace.run
        self.items = count_rows(folders.data / INGESTED_ITEMS)
        self.findings = Findings(folders.work, self.items)
        self.use = ObjectUse()
        request_checks(database, folders.data, params)
        self._lookup = EntryLookup(database, folders.objects)
        self._lookup.search("object, item")
        self._reused = self._lookup.count()
        self._checked = self._again = 0
        self._plan: TarPlan

    def check_all(self) -> None:
        """Check the items whose verdicts the cache lacks, and write the tars of the bytes that changed; again for what
        turns out to be damaged in the cache.

        Raises:
            PipelineError: what was just written to the cache is damaged again and again.
        """
        prefixes = self._read_prefixes()
        tasks = plan_checks(self._database, self._folders, self._params)
        with open_executor(
            self._run, max(len(tasks), -(-self.items // MAX_ITEMS)), [self._folders.data], describe_checks
        ) as executor:
            for number in range(MAX_ROUNDS):
                tasks = tasks if number == 0 else plan_checks(self._database, self._folders, self._params)
                self._check(executor, tasks, first=number == 0)
                damaged = self._settle(executor, prefixes)
                if not damaged and self._count_unsettled() == len(self._lost):
                    return
                self._lookup.forget(damaged)
        raise PipelineError(f"{self._folders.cache} is damaged as it is written: check the disk")

    def _count_unsettled(self) -> int:
        query = f"SELECT count(*) FROM (SELECT DISTINCT {KEY} FROM located WHERE object IS NULL)"
        return int(self._database.fetch(query)[0][0])

    def _check(self, executor: Executor, tasks: Sequence[object], first: bool) -> None:
        count = self._database.fetch("SELECT count(*) FROM firsts")[0][0]
        self._checked += count if first else 0
        self._again += 0 if first else count
        self._lost = compute_missing(executor, check_items, tasks, self._lookup, self._run)

    def _settle(self, executor: Executor, prefixes: NDArray[np.uint64]) -> set[str]:
        """Collect the verdicts and write the tars; return the damaged objects."""
        objects = self._folders.objects
        if damaged := collect_findings(self._database, self._lookup, objects, self.findings):
            return damaged
        self._plan = plan_tars(self.findings, prefixes)
        tasks = plan_tar_tasks(self._database, self._lookup, self._folders, self.findings, self._plan)
        for _, result in show_progress(executor.run_tasks(write_cleaned_tar, tasks), len(tasks), "tars", self._run):
            damaged |= result.damaged
            if result.name is not None:
                self.use.published.add(result.name)
        return damaged

    def _read_prefixes(self) -> NDArray[np.uint64]:
        """Return the first 8 bytes of the items' ids, as big-endian numbers."""
        prefixes = [np.empty(0, np.uint64)]
        for batch in read_batches(self._folders.data / INGESTED_ITEMS, ITEMS, ["id"]):
            raw = read_hashes(batch, "id").view(np.uint8).reshape(-1, 32)
            prefixes.append(np.ascontiguousarray(raw[:, :8]).view(">u8")[:, 0].astype(np.uint64))
        return np.concatenate(prefixes)

    def write(self) -> list[str]:
        """Mark the duplicates and write the cleaned table; return a line of counts for each modality."""
        exact, near = np.zeros(self.items, np.int64), np.zeros(self.items, np.int64)
        notes = []
        for modality in MODALITIES:
            rows = self._database.take(
                "SELECT item FROM located WHERE modality = $name ORDER BY item", {"name": modality}
            )
            items = rows["item"].to_numpy().astype(np.int64)
            items = items[self.findings.kept[items]]
            if len(items):
                found = cluster_items(self.findings, modality, items, self._params)
                exact[items], near[items] = found.exact, found.near
                described = describe_clusters(self.findings, items, found.exact, found.near)
                notes.append(f"{modality}: {described}")
        ingested = self._folders.data / INGESTED_ITEMS
        folder = self._folders.work / CLEANED_FOLDER / "items"
        write_items(folder, ingested, self.findings, Clusters(exact, near), self._plan)
        count_redactions(self.findings, np.flatnonzero(self.findings.kept)).write(folder.parent)
        return notes

    def write_dropped(self) -> DropCounts:
        """Write the table of dropped items."""
        database = self._database
        lost = join_words(database.take(f"SELECT DISTINCT modality, {KEY} FROM located WHERE object IS NULL"))
        add_rejections(database, [(row["key"], row["modality"], self._lost[row["key"]]) for row in lost.to_pylist()])
        database.execute(f"CREATE TABLE rejected AS SELECT item FROM located SEMI JOIN rejections USING ({KEY})")
        names = ["source", "file", "part"]
        database.load("names", self._folders.data / INGESTED_ITEMS, ITEMS, names, number="item", only="rejected")
        dropped = DroppedRows(database, "clean", "item")
        dropped.add_query(
            f"""
            SELECT source || ':' || file || CASE part WHEN '' THEN '' ELSE '#' || part END AS key,
                reason, detail, value, "limit", setting
            FROM rejections JOIN located USING ({KEY}) JOIN names USING (item)
            """
        )
        return dropped.write(self._folders.work / CLEANED_FOLDER)

    def describe(self) -> list[str]:
        """Describe for the summary what came from the cache: `checks: 29,700 reused, 300 computed`."""
        self.use.touched |= self._lookup.list_used()
        self.use.damaged |= self._lookup.damaged
        notes = [f"checks: {self._reused:,} reused, {self._checked:,} computed"]
        if self.use.damaged:
            again = f"; {self._again:,} items checked again" if self._again else ""
            notes.append(f"the item cache had {len(self.use.damaged)} damaged objects{again}")
        return notes


def describe_checks() -> dict[str, str]:
    """Return by name what this stage's results depend on besides its code, see `describe_environment`."""
    return describe_environment(["stages.clean"], [name for each in MODALITIES.values() for name in each.libraries])
