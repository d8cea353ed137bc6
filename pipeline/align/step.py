"""Run the stage `align`: read the items, write the samples and their parts."""

from pathlib import Path

from pipeline.align.alignment import Alignment
from pipeline.align.assign_splits import check_splits
from pipeline.align.deal_folds import WRITE_FOLDS, describe_fold
from pipeline.align.divide_samples import has_each
from pipeline.align.params import AlignParams
from pipeline.align.parts import Part, list_parts
from pipeline.align.plan_in_buckets import count_buckets, form_in_buckets
from pipeline.align.plan_samples import compare_samples, form_samples, open_alignment
from pipeline.align.read_items import find_modalities, load_items, load_modalities, load_rejected
from pipeline.align.select_items import select_items
from pipeline.errors import InputError
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.columns import Row
from pipeline.tables.contracts import (
    ALIGNED_FOLDER,
    ALIGNED_FOLDS,
    ALIGNED_PART_KINDS,
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED_ITEMS,
    FOLDS,
    INGESTED_ITEMS,
    PART_KINDS,
    PARTS,
    SAMPLES,
    SPLITS,
)
from pipeline.tables.database import Database, open_database
from pipeline.tables.drops import Outcome, Reason, check_drop_share
from pipeline.tables.table_files import check_reference, count_rows, identify_table, write_table

WRITE_SAMPLES = 'SELECT key, split, label, "group" FROM planned ORDER BY number'

WRITE_PARTS = """
    SELECT number AS sample, $names[part + 1] AS part, position, item, "start", "end"
    FROM members JOIN planned USING (sample)
    ORDER BY number, members.part, position
"""

COUNT_SPLITS = "SELECT split, count(*) FROM planned GROUP BY split"

SIZES = """
    SELECT count(*), min(size), max(size)
    FROM (SELECT count(*) AS size FROM planned WHERE "{column}" IS NOT NULL GROUP BY "{column}")
"""


UNTRAINED = """
    SELECT label FROM planned WHERE label IS NOT NULL
    GROUP BY label HAVING count(*) FILTER (split = 'train') = 0 ORDER BY label
"""
SHOWN = 10
"""How many of the labels that train lacks the summary names."""


def align(params: AlignParams, workspace: Workspace) -> Outcome:
    """Plan the samples and write `4_aligned`. Counts items: those in a sample, and those dropped.

    Raises:
        TooManyDrops: more than `params.max_dropped` of the selected items are in no sample.
        PipelineError: one group holds too many samples.
        InputError: a table is missing or damaged, or names an unknown split; or no sample is in train.
    """
    data = workspace.data
    check_reference(data / CLEANED_ITEMS, INGESTED_ITEMS, data / INGESTED_ITEMS)
    items = count_rows(data / CLEANED_ITEMS)
    buckets = count_buckets(workspace.run, items)
    with open_database(workspace.work, workspace.run) as database:
        alignment = _plan_samples(database, params, workspace, buckets)
        _write_samples(alignment, workspace)
        outcome = _count(alignment, items, workspace.work / ALIGNED_FOLDER)
        _check(alignment, outcome)
    return outcome


def _plan_samples(database: Database, params: AlignParams, workspace: Workspace, buckets: int) -> Alignment:
    """Put each item into a sample, or drop it."""
    if not buckets:
        load_items(database, workspace.data, params)
    elif not params.rules:
        load_modalities(database, workspace.data)
    found = [] if params.rules else find_modalities(database, params)
    alignment = open_alignment(database, params, list_parts(params, found))
    if buckets:
        form_in_buckets(alignment, workspace, buckets)
    else:
        select_items(alignment)
        form_samples(alignment)
    compare_samples(alignment)
    if buckets:
        load_rejected(database, workspace.data)
    alignment.drop_items()
    return alignment


def _write_samples(alignment: Alignment, workspace: Workspace) -> None:
    database = alignment.database
    samples = workspace.work / ALIGNED_SAMPLES
    database.write(WRITE_SAMPLES, samples, SAMPLES)
    if alignment.params.folds is not None:
        database.write(WRITE_FOLDS, workspace.work / ALIGNED_FOLDS, FOLDS)
    kinds = workspace.work / ALIGNED_PART_KINDS
    write_table(kinds, map(_describe_part, alignment.parts), PART_KINDS)
    refers = {
        INGESTED_ITEMS: identify_table(workspace.data / INGESTED_ITEMS),
        ALIGNED_SAMPLES: identify_table(samples),
        ALIGNED_PART_KINDS: identify_table(kinds),
    }
    names = [part.name for part in alignment.parts]
    database.write(WRITE_PARTS, workspace.work / ALIGNED_PARTS, PARTS, refers, {"names": names})


def _describe_part(part: Part) -> Row:
    most = part.most if part.many in ("all", "join") else None
    return {"part": part.name, "modality": part.modality, "most": most, "joiner": part.joiner}


def _count(alignment: Alignment, seen: int, folder: Path) -> Outcome:
    database = alignment.database
    counted = "DISTINCT item" if has_each(alignment) else "*"  # to find distinct items takes memory
    ((kept,),) = database.fetch(f"SELECT count({counted}) FROM members SEMI JOIN planned USING (sample)")
    return Outcome("item", seen, kept, alignment.dropped.write(folder), _describe(alignment))


def _check(alignment: Alignment, outcome: Outcome) -> None:
    """Check the share of drops among selected items (the others were left out on purpose), and the splits."""
    lost = outcome.dropped.select(set(Reason) - {Reason.NOT_SELECTED})
    selected = Outcome("item", outcome.kept + lost.total, outcome.kept, lost)
    check_drop_share(selected, alignment.params.max_dropped, "align.max_dropped")
    counts: dict[str, int] = dict(alignment.database.fetch(COUNT_SPLITS))
    if "train" not in counts:
        dropped = outcome.dropped.describe() or "none"
        raise InputError(
            f"none of {sum(counts.values())} samples is in train, items dropped: {dropped}; look at "
            "align.modalities and align.split in params.yaml"
        )
    check_splits(alignment, counts)


def _describe(alignment: Alignment) -> list[str]:
    """Count samples by split, by label and by group, and name the fold."""
    database = alignment.database
    splits: dict[str, int] = dict(database.fetch(COUNT_SPLITS))
    notes = [f"{sum(splits.values())} samples: {', '.join(f'{split} {splits.get(split, 0)}' for split in SPLITS)}"]
    if alignment.params.folds is not None:
        notes.append(describe_fold(alignment, splits.get("test", 0)))
    ((labels, least, most),) = database.fetch(SIZES.format(column="label"))
    if labels:
        notes.append(f"{labels} labels, of {least} to {most} samples{_name_untrained(database)}")
    ((groups, _, most),) = database.fetch(SIZES.format(column="group"))
    if groups:
        notes.append(f"{groups} groups, the largest of {most} samples")
    return notes


def _name_untrained(database: Database) -> str:
    """Return which labels no sample of train has, the first of them by name."""
    names = [label for (label,) in database.fetch(UNTRAINED)]
    if not names:
        return ""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"; train has none of {', '.join(names[:SHOWN])}{more}"
