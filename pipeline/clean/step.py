"""Run the stage `clean`: check new items in parallel, assemble all, mark duplicates, write the cleaned table."""

from dataclasses import replace

from pipeline.cache.evict import ObjectUse, evict
from pipeline.cache.library_versions import describe_environment
from pipeline.cache.lookup import find_entries
from pipeline.clean.cleaned_table import write_items
from pipeline.clean.item_columns import CleanFolders, NeededChecks, read_items
from pipeline.clean.params import CleanParams
from pipeline.clean.run_checks import CheckRun
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.executor import open_executor
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import CLEANED_FOLDER
from pipeline.tables.drops import Outcome, check_drop_share, check_machine_drops
from pipeline.tables.parquet import write_dropped


def clean(params: CleanParams, workspace: Workspace) -> Outcome:
    """Check every ingested item, mark duplicates, and write `3_cleaned`. Drops unfit items, but no duplicates.

    Raises:
        TooManyDrops: more than `params.max_dropped` of the items are unfit.
        MachineDrops: items were dropped because of this machine, and `run.allow_machine_drops` is false.
        InputError: the ingested table or bytes are missing or damaged.
    """
    work = workspace.work.resolve()
    folders = CleanFolders(workspace.data.resolve(), work / "items.arrow", workspace.cache.resolve(), work)
    folder = work / CLEANED_FOLDER
    folder.mkdir(parents=True)
    items = read_items(folders, params)
    needed = NeededChecks(items)
    with folders.objects.hold():
        use = ObjectUse(damaged=set(find_entries(folders.objects, [needed.verdicts, needed.data])))
        checking = CheckRun(items, needed, folders, params, use)
        with open_executor(workspace.run, checking.count_tasks(), [folders.data], describe_checks) as workers:
            checking.check_missing(workers, workspace.run)
            findings, drops = checking.assemble(folder, workers, workspace.run)
    write_dropped(folder / "dropped.parquet", "clean", "item", drops)
    described = write_items(folder / "items.parquet", folders.items, items, findings, params)
    outcome = Outcome("item", len(items), len(items) - len(drops), drops)
    check_machine_drops(outcome, workspace.run.allow_machine_drops)
    check_drop_share(outcome, params.max_dropped, "clean.max_dropped")
    notes = [*described, *checking.describe()]
    if evicted := evict(folders.objects, use, workspace.run.cache_bytes):
        notes.append(
            f"{evicted / 1e9:.1f} GB that this run used were evicted from the item cache: raise run.cache_bytes"
        )
    return replace(outcome, notes=notes)


def describe_checks() -> dict[str, str]:
    """Return by name what this stage's results depend on besides its code, see `describe_environment`."""
    return describe_environment(["stages.clean"], [name for each in MODALITIES.values() for name in each.libraries])
