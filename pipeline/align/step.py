"""Run the stage `align`: read the cleaned table, write the table of samples."""

from collections import Counter
from pathlib import Path

from pipeline.align.assign_splits import PlacedSample, check_splits
from pipeline.align.params import AlignParams
from pipeline.align.plan_samples import Plan, plan_samples
from pipeline.errors import InputError
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.columns import Row
from pipeline.tables.contracts import ALIGNED_FOLDER, CLEANED, CLEANED_FOLDER, MODALITIES, SAMPLES, SPLITS
from pipeline.tables.drops import Outcome, Reason, check_drop_share
from pipeline.tables.row_files import read_batches
from pipeline.tables.table_files import write_dropped, write_table

CLUSTER_COLUMNS = ("id", "exact_cluster", "near_cluster")
REPEATED_COLUMNS = (
    *CLUSTER_COLUMNS,
    "source",
    "part",
    "modality",
    "page",
    "label",
    "page_label",
    "sample",
    "group",
    "split",
)
UNIQUE_COLUMNS = ("file", "url", "start", "end", "sample_rate", "frames")
"""The columns in use: those with values that many items share, and those with a value of its own for each item."""


def align(params: AlignParams, workspace: Workspace) -> Outcome:
    """Plan the samples and write `4_aligned`. Counts items: those in a sample, and those dropped.

    Raises:
        TooManyDrops: more than `params.max_dropped` of the selected items are in no sample.
        PipelineError: one group holds too many samples.
        InputError: the cleaned table is missing or damaged, or names an unknown split; or no sample is in train.
    """
    rows = _read_items(workspace.data / CLEANED_FOLDER / "items.parquet")
    plan = plan_samples(rows, params)
    folder = workspace.work / ALIGNED_FOLDER
    write_table(folder / "samples.parquet", map(_build_row, plan.samples), SAMPLES)
    write_dropped(folder / "dropped.parquet", "align", "item", plan.drops)
    outcome = Outcome("item", len(rows), plan.items, plan.drops, notes=_describe(plan))
    _check_drops(outcome, params)
    if not any(placed.split == "train" for placed in plan.samples):
        raise InputError(
            f"none of {len(plan.samples)} samples is in train, items dropped: {outcome.count_reasons() or 'none'}; "
            "look at align.modalities and align.split in params.yaml"
        )
    check_splits(plan.samples, params)
    return outcome


def _read_items(path: Path) -> list[Row]:
    """Read the columns that decide. Equal strings are stored once: most clusters are the id of their one item."""
    rows: list[Row] = []
    strings: dict[str, str] = {}
    for batch in read_batches(path, CLEANED, [*REPEATED_COLUMNS, *UNIQUE_COLUMNS]):
        for row in batch.to_pylist():
            row |= {
                name: strings.setdefault(text, text) for name in REPEATED_COLUMNS if (text := row[name]) is not None
            }
            rows.append(row)
    return rows


def _check_drops(outcome: Outcome, params: AlignParams) -> None:
    """Check the share of drops among selected items: the others were left out on purpose."""
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
    """Count samples by split, by label and by group."""
    splits = Counter(placed.split for placed in plan.samples)
    labels = Counter(placed.sample.label for placed in plan.samples if placed.sample.label is not None)
    groups = Counter(placed.group for placed in plan.samples)
    notes = [f"{len(plan.samples)} samples: {', '.join(f'{split} {splits[split]}' for split in SPLITS)}"]
    if labels:
        notes.append(f"{len(labels)} labels, of {min(labels.values())} to {max(labels.values())} samples")
    if groups:
        notes.append(f"{len(groups)} groups, the largest of {max(groups.values())} samples")
    return notes
