"""Run the stage: turn every file that came in into items with an identity, or drop it with a reason."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from pipeline.errors import InputError
from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.evict import ObjectUse, evict
from pipeline.incremental.library_versions import describe_environment
from pipeline.incremental.object_store import ObjectStore
from pipeline.ingest.ingest_range import FileRange, RangeResult, ingest_range, load_libraries
from pipeline.ingest.join_ranges import RangeJoin, copy_tar
from pipeline.ingest.list_files import Listing, list_files
from pipeline.ingest.params import IngestParams
from pipeline.ingest.range_cache import RangeCache
from pipeline.ingest.read_page import check_selectors
from pipeline.ingest.sources.containers import check_unchanged
from pipeline.ingest.sources.source import ReadInputs, SourceInputs
from pipeline.ingest.sources.table import select_sources
from pipeline.inputs.locate_inputs import InputFolder, locate_inputs
from pipeline.privacy.policy import read_policy
from pipeline.privacy.redact_names import DROPPED_COLUMNS, make_redactor
from pipeline.runtime.executor import Executor, open_executor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.runtime.sandbox.worker_pool import warm_up_pool
from pipeline.tables.columns import read_strings
from pipeline.tables.contracts import INGESTED_FOLDER, ITEMS
from pipeline.tables.database import Database, open_database
from pipeline.tables.dropped_rows import PART, DroppedRows
from pipeline.tables.drops import Outcome, Reason, check_drop_share, check_machine_drops
from pipeline.tables.table_files import read_batches

CACHE_SHARE = 4
"""Ranges are kept only if all files together have at most this part of `run.cache_bytes`: what later stages compute
takes longer to make again."""

NAMING = {"redact", "redact_key"}
"""Params that only the writing of the table uses: with others no file is read again."""


def ingest(params: IngestParams, workspace: Workspace) -> Outcome:
    """Read the files of all sources and write `2_ingested/`. Unit: the file.

    Raises:
        InputError: no source has a file, the listing is missing, the user's table cannot be used, or an
            archive changed.
        ParamsError: a selector is not valid CSS, or a source of the user's own cannot be imported.
        TooManyDrops: more files were dropped than `params.max_dropped` allows.
        MachineDrops: files were dropped because of this machine, and `run.allow_machine_drops` is false.
    """
    check_selectors(params)
    sources = select_sources(params)
    warm_up_pool(workspace.run, load_libraries)
    folder, ranges = workspace.work / INGESTED_FOLDER, workspace.work.resolve() / "ranges"
    folder.mkdir()
    ranges.mkdir()
    inputs = SourceInputs(params, workspace)
    cache = open_cache(params, workspace)
    with open_database(workspace.work, workspace.run) as database, cache.objects.hold():
        dropped = DroppedRows(database, "ingest", "file")
        listing, seen = list_files(sources, inputs, database, dropped)
        if not seen:
            explained = [source.explain_nothing(inputs) for source in sources.values() if source.explain_nothing]
            raise InputError("; ".join(["no input", *explained]))
        join = RangeJoin(database)
        read_inputs = ReadInputs(workspace.data.resolve(), locate_inputs(params), inputs.spool)
        kept_cache = cache if CACHE_SHARE * listing.size <= workspace.run.cache_bytes else None
        tasks = _plan_tasks(listing, FileRange(listing.path, ranges, read_inputs, params, kept_cache))
        folders = [place.path for place in read_inputs.folders.values() if isinstance(place, InputFolder)]
        with open_executor(workspace.run, len(tasks), [read_inputs.data, *folders], describe_ingest) as workers:
            results = list(_ingest_ranges(workers, tasks, join, workspace))
            check_unchanged(inputs)
            kept = sum(result.kept for result in results) - join.join(params, dropped)
            for _ in workers.run_tasks(copy_tar, join.list_copies(ranges, folder)):
                pass
        redactor = make_redactor(read_policy(params.redact, "pseudonym", (), params.redact_key, None))
        join.write_items(folder / "items", redactor)
        redactor.counts.write(folder)
        dropped.rewrite(DROPPED_COLUMNS, redactor.redact_key)
        counts = dropped.write(folder)
        notes = [*_describe(folder, database), *_describe_reuse(results)]
        if redacted := redactor.counts.describe():
            notes.append(f"names: {redacted}")
        outcome = Outcome("file", seen, kept, counts, notes)
    used = {result.cached for result in results if result.cached} | inputs.copies.keys()
    evict(cache.objects, ObjectUse(used), workspace.run.cache_bytes)
    check_machine_drops(outcome, workspace.run.allow_machine_drops)
    check_drop_share(_leave_out_tables(outcome), params.max_dropped, "ingest.max_dropped")
    return outcome


def _leave_out_tables(outcome: Outcome) -> Outcome:
    """Return the counts without tables, which are used: a transcript lies beside each recording."""
    dropped = outcome.dropped.select(set(Reason) - {Reason.USED_AS_TABLE})
    return Outcome(outcome.unit, outcome.kept + dropped.total, outcome.kept, dropped)


def open_cache(params: IngestParams, workspace: Workspace) -> RangeCache:
    """Return the cache of ranges."""
    readers = (source.open_reader for source in select_sources(params).values())
    method = hash_method(
        "range of files", (ingest_range, *readers), {"params": params.model_dump(mode="json", exclude=NAMING)}
    )
    return RangeCache(ObjectStore(workspace.cache.resolve(), workspace.work.resolve()), method)


def describe_ingest() -> dict[str, str]:
    """Return by name what this stage's results depend on besides its code, see `describe_environment`."""
    return describe_environment(["stages.ingest"])


def _plan_tasks(listing: Listing, model: FileRange) -> LazyTasks[FileRange]:
    def build(number: int) -> FileRange:
        files, largest = listing.counts[number], listing.largest[number]
        return replace(model, number=number, files=files, estimated_bytes=largest)

    return LazyTasks(len(listing.counts), build)


def _ingest_ranges(
    workers: Executor, tasks: LazyTasks[FileRange], join: RangeJoin, workspace: Workspace
) -> Iterator[RangeResult]:
    files = sum(tasks[number].files for number in range(len(tasks)))

    def measure(finished: tuple[int, RangeResult]) -> tuple[int, dict[str, int]]:
        result = finished[1]
        return result.kept + result.dropped, {"kept": result.kept, "dropped": result.dropped}

    finished = workers.run_tasks(ingest_range, tasks)
    for number, result in show_progress(finished, files, "files", workspace.run, measure):
        join.add(tasks[number].folder, tasks[number].name)
        yield result


def _describe(folder: Path, database: Database) -> list[str]:
    """Return `1,800 items: 600 audio, 600 image, 600 text` and `61,298 parts left out: part_not_selected`."""
    counts: Counter[str] = Counter()
    for batch in read_batches(folder / "items", ITEMS, ["modality"]):
        counts.update(read_strings(batch, "modality"))
    modalities = ", ".join(f"{count:,} {modality}" for modality, count in sorted(counts.items()))
    notes = [f"{counts.total():,} items: {modalities}"] if counts else []
    parts = database.fetch(
        """
        SELECT reason, sum(count) FROM dropped
        WHERE unit = $part AND reason NOT IN (SELECT unnest($told)) GROUP BY reason
        """,
        {"part": PART, "told": [str(Reason.IGNORED), str(Reason.GUESSED_ENCODING)]},  # by `list`, and below
    )
    if parts:
        reasons = ", ".join(sorted(reason for reason, _ in parts))
        notes.append(f"{sum(count for _, count in parts):,} parts left out: {reasons}")
    guessed = database.fetch(
        "SELECT value, sum(count) FROM dropped WHERE reason = $guessed GROUP BY value ORDER BY value",
        {"guessed": str(Reason.GUESSED_ENCODING)},
    )
    if guessed:
        encodings = ", ".join(f"{count:,} {value}" for value, count in guessed)
        notes.append(f"texts in a guessed encoding: {encodings}")
    return notes


def _describe_reuse(results: Sequence[RangeResult]) -> list[str]:
    """Return `9,900 files have not changed since they were read`, if there are any."""
    files = sum(result.kept + result.dropped for result in results if result.reused)
    return [f"{files:,} files have not changed since they were read"] if files else []
