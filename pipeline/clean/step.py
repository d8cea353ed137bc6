"""clean, from the ingested items to the cleaned table: check in parallel, cluster, write."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.clean.check import Chunk, Finding, check_chunk
from pipeline.clean.chunks import plan_chunks
from pipeline.clean.clusters import Clusters, find_clusters
from pipeline.clean.params import CleanParams
from pipeline.contracts import CLEANED, CLEANED_FOLDER, INGESTED_FOLDER, ITEMS, MODALITIES
from pipeline.execute import run_tasks
from pipeline.item_name import name_item
from pipeline.progress import show_progress
from pipeline.records import Drop, Outcome, Rejection, check_drop_share
from pipeline.stage import Workspace
from pipeline.tables import Row, read_table, write_dropped, write_table

FACTS = [name for name in CLEANED if name not in ITEMS and name not in ("redactions", "exact_cluster", "near_cluster")]
"""The columns that a modality's check fills; those of the other modalities stay null."""


@dataclass(frozen=True, slots=True)
class CheckedItem:
    """An ingested item and what its check found."""

    row: Row
    finding: Finding


def clean(params: CleanParams, workspace: Workspace) -> Outcome:
    """Check every ingested item, mark duplicates, and write `3_cleaned`. Drops what is unfit, never a duplicate.

    Raises:
        TooManyDrops: more than `params.max_dropped` of the items are unfit.
        InputError: the ingested table or bytes are missing or damaged.
    """
    rows = read_table(workspace.data / INGESTED_FOLDER / "items.parquet", ITEMS)
    folder = workspace.work / CLEANED_FOLDER
    folder.mkdir(parents=True)
    kept: dict[str, list[CheckedItem]] = defaultdict(list)
    drops: list[Drop] = []
    for row, verdict in zip(rows, _check_items(rows, params, folder, workspace), strict=True):
        if isinstance(verdict, Rejection):
            drops.append(verdict.drop(name_item(row)))
        else:
            kept[row["modality"]].append(CheckedItem(row, verdict))
    write_dropped(folder / "dropped.parquet", "clean", "item", drops)
    notes = _write_items(folder / "items.parquet", kept, params)
    outcome = Outcome("item", len(rows), sum(map(len, kept.values())), drops, notes=notes)
    check_drop_share(outcome, params.max_dropped, "clean.max_dropped")
    return outcome


def _check_items(
    rows: Sequence[Row], params: CleanParams, folder: Path, workspace: Workspace
) -> list[Finding | Rejection]:
    """The verdicts on `rows`, in their order; the workers leave changed bytes in tars in `folder`."""
    tasks = [
        Chunk(workspace.data, folder / f"cleaned-{number:06d}.tar", chunk, params)
        for number, chunk in enumerate(plan_chunks(rows))
    ]
    verdicts = dict(
        show_progress(run_tasks(check_chunk, tasks, workspace.run), len(tasks), "chunks of items", workspace.run)
    )
    return [verdict for number in range(len(tasks)) for verdict in verdicts[number]]


def _write_items(path: Path, kept: Mapping[str, list[CheckedItem]], params: CleanParams) -> list[str]:
    """Write the cleaned table in the order of ids; gives a line of counts for each modality."""
    table: list[Row] = []
    notes = []
    for modality in (name for name in MODALITIES if name in kept):
        items = sorted(kept[modality], key=lambda item: str(item.row["id"]))
        clusters = find_clusters(
            [item.finding.sha256 for item in items],
            [item.finding.fingerprint for item in items],
            params.nearness[modality],
        )
        table += _build_rows(items, clusters)
        notes.append(f"{modality}: {_describe([item.finding for item in items], clusters)}")
    write_table(path, sorted(table, key=lambda row: str(row["id"])), CLEANED)
    return notes


def _build_rows(items: Sequence[CheckedItem], clusters: Clusters) -> Iterator[Row]:
    ids = [item.row["id"] for item in items]
    for item, exact, near in zip(items, clusters.exact, clusters.near, strict=True):
        found = item.finding
        yield {
            **item.row,
            "sha256": found.sha256,
            "tar": found.place.tar,
            "offset": found.place.offset,
            "size": found.place.size,
            **dict.fromkeys(FACTS),
            **found.facts,
            "redactions": found.redactions,
            "exact_cluster": ids[exact],
            "near_cluster": ids[near],
        }


def _describe(findings: Sequence[Finding], clusters: Clusters) -> str:
    """`741 kept, 12 rewritten, 3 exact and 31 near duplicates marked, largest near cluster 4`."""
    exact, _ = np.unique(clusters.exact, return_counts=True)
    near, sizes = np.unique(clusters.near, return_counts=True)
    redactions = sum(finding.redactions for finding in findings)
    return ", ".join(
        [
            f"{len(findings)} kept",
            f"{sum(finding.rewritten for finding in findings)} rewritten",
            *([f"{redactions} passages redacted"] if redactions else []),
            f"{len(findings) - len(exact)} exact and {len(findings) - len(near)} near duplicates marked",
            f"largest near cluster {sizes.max()}",
        ]
    )
