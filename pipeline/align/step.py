"""align, from the cleaned table to the table of samples."""

from collections import Counter

from pipeline.align.params import AlignParams
from pipeline.align.plan import Plan, plan_samples
from pipeline.align.split import PlacedSample, check_splits
from pipeline.contracts import ALIGNED_FOLDER, CLEANED, CLEANED_FOLDER, MODALITIES, SAMPLES, SPLITS
from pipeline.errors import InputError
from pipeline.records import Outcome, Reason, check_drop_share
from pipeline.stage import Workspace
from pipeline.tables import Row, read_table, write_dropped, write_table


def align(params: AlignParams, workspace: Workspace) -> Outcome:
    """Plan the samples and write `4_aligned`. Counts items: used in a sample, or dropped.

    Raises:
        TooManyDrops: more than `params.max_dropped` of the selected items are in no sample.
        PipelineError: there is nothing to train on, or one group holds too many samples.
        InputError: the cleaned table is missing or damaged, or names a split that is not known.
    """
    rows = read_table(workspace.data / CLEANED_FOLDER / "items.parquet", CLEANED)
    plan = plan_samples(rows, params)
    folder = workspace.work / ALIGNED_FOLDER
    write_table(folder / "samples.parquet", map(_build_row, plan.samples), SAMPLES)
    write_dropped(folder / "dropped.parquet", "align", "item", plan.drops)
    outcome = Outcome("item", len(rows), plan.items, plan.drops, notes=_describe(plan))
    _check_drops(outcome, params)
    if not any(placed.split == "train" for placed in plan.samples):
        raise InputError(f"none of {len(plan.samples)} samples is in train; items dropped: {outcome.count_reasons()}")
    check_splits(plan.samples, params)
    return outcome


def _check_drops(outcome: Outcome, params: AlignParams) -> None:
    """Items that the params leave out on purpose are no loss, so the limit is on the others."""
    lost = [drop for drop in outcome.dropped if drop.reason != Reason.NOT_SELECTED]
    check_drop_share(
        Outcome("item", outcome.kept + len(lost), outcome.kept, lost), params.max_dropped, "align.max_dropped"
    )


def _build_row(placed: PlacedSample) -> Row:
    parts = placed.sample.parts
    return {
        "key": placed.sample.key,
        "split": placed.split,
        "label": placed.sample.label,
        "group": placed.group,
        **{name: parts[name].row["id"] if name in parts else None for name in MODALITIES},
        **{
            f"{name}_{edge}": parts[name].row[edge] if name in parts else None
            for name in MODALITIES
            for edge in ("start", "end")
        },
    }


def _describe(plan: Plan) -> list[str]:
    """Samples by split, by label, by group."""
    splits = Counter(placed.split for placed in plan.samples)
    labels = Counter(placed.sample.label for placed in plan.samples if placed.sample.label is not None)
    groups = Counter(placed.group for placed in plan.samples)
    notes = [f"{len(plan.samples)} samples: {', '.join(f'{split} {splits[split]}' for split in SPLITS)}"]
    if labels:
        notes.append(f"{len(labels)} labels, of {min(labels.values())} to {max(labels.values())} samples")
    if groups:
        notes.append(f"{len(groups)} groups, the largest of {max(groups.values())} samples")
    return notes
