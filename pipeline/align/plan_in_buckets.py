"""Run the tasks of `pipeline.align.bucket_tasks`, and read what they made."""

import shutil
from collections.abc import Callable

from pipeline.align.alignment import Alignment
from pipeline.align.bucket_tasks import RESULTS, BucketPlan, BucketTask, form_bucket, plan_ranges, select_range
from pipeline.config.params import RunParams
from pipeline.incremental.library_versions import describe_environment
from pipeline.runtime.executor import Executor, open_executor
from pipeline.runtime.lazy_tasks import LazyTasks
from pipeline.runtime.progress import show_progress
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.bucket_files import read_rows_of

BUCKET_ITEMS = 250_000
"""Items of a bucket, where nobody says how many buckets there are: as many as a range has."""

LEAST_ITEMS = 1_000_000
"""Items from which on buckets are used by default: fewer take the driver some seconds, as starting on workers does."""


def count_buckets(run: RunParams, items: int) -> int:
    """Return into how many buckets so many items go; 0: the driver does all."""
    if run.buckets is not None:
        return run.buckets
    has_cluster = run.scheduler is not None or run.client is not None
    return -(-items // BUCKET_ITEMS) if has_cluster and items >= LEAST_ITEMS else 0


def form_in_buckets(alignment: Alignment, workspace: Workspace, buckets: int) -> None:
    """Create the tables that `form_samples` creates, and `items` with clusters alone, by tasks.

    Raises:
        PipelineError: a task failed, or the cluster cannot be used.
    """
    data, folder = workspace.data.resolve(), workspace.work.resolve() / "buckets"
    folder.mkdir(parents=True)
    plan = BucketPlan(data, folder, alignment.params, alignment.parts, workspace.run, buckets, plan_ranges(data))
    tasks = max(len(plan.ranges), buckets)
    with open_executor(workspace.run, tasks, [data], describe_align) as executor:
        _run_tasks(executor, select_range, plan, len(plan.ranges))
        _run_tasks(executor, form_bucket, plan, buckets)
    for table in RESULTS:
        rows = read_rows_of(plan.list_results(table))
        if table == "dropped":
            alignment.database.append(table, rows)
        else:
            alignment.database.insert(table, rows)
    shutil.rmtree(folder, ignore_errors=True)  # a task that was given up may still write to it


def describe_align() -> dict[str, str]:
    """Return by name what this stage's results depend on besides its code, see `describe_environment`."""
    return describe_environment(["stages.align"])


def _run_tasks(executor: Executor, function: Callable[[BucketTask], None], plan: BucketPlan, count: int) -> None:
    tasks = LazyTasks(count, lambda number: BucketTask(plan, number))
    name = "ranges" if function is select_range else "buckets"
    for _ in show_progress(executor.run_tasks(function, tasks), count, name, plan.run):
        pass
