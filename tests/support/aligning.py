"""Run the stage `align` over items that tests make up, and read what it made as the reference gives it."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from pipeline.align.params import AlignParams
from pipeline.align.step import align
from pipeline.config.params import RunParams
from pipeline.errors import PipelineError
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.columns import Row
from pipeline.tables.contracts import ALIGNED_FOLDER, ALIGNED_PARTS, ALIGNED_SAMPLES, DROPPED, PARTS, SAMPLES
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.table_files import read_table
from tests.align.reference import PlacedSample, Plan
from tests.align.reference_samples import Candidate, Sample
from tests.support.tables import write_items


def open_aligned(folder: Path, rows: Sequence[Row], lost: Sequence[Row] = (), **run: object) -> Workspace:
    """Write the tables of items, and return the workspace of a stage that reads them."""
    write_items(folder / "data", rows, lost)
    values = {"workers": 2, "memory": "1 GiB", "cache": str(folder), "progress": False} | run
    return Workspace(folder / "data", folder / "work", folder, RunParams.model_validate(values))


def plan_samples(rows: Sequence[Row], params: AlignParams, lost: Sequence[Row] = ()) -> Plan:
    """Return the samples that `align` makes of the rows, in the order of their keys, and its drops."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = open_aligned(Path(folder), rows, lost)
        try:
            align(params, workspace)
        except PipelineError:
            if not (workspace.work / ALIGNED_FOLDER / "dropped").is_dir():
                raise
        return read_plan(workspace.work, rows, lost)


def read_plan(work: Path, rows: Sequence[Row], lost: Sequence[Row] = ()) -> Plan:
    """Return the samples and drops in the tables of `align`, with the rows of their items."""
    items = sorted([*rows, *lost], key=lambda row: str(row["id"]))
    samples = read_table(work / ALIGNED_SAMPLES, SAMPLES)
    parts: list[dict[str, tuple[Candidate, ...]]] = [{} for _ in samples]
    for part in read_table(work / ALIGNED_PARTS, PARTS):
        row = items[part["item"]]
        assert (part["start"], part["end"]) == (row["start"], row["end"])
        places = parts[part["sample"]]
        earlier = places.get(part["part"], ())
        assert part["position"] == len(earlier)
        places[part["part"]] = (*earlier, Candidate(row, part["part"], "", "", None, None, None))
    placed = [
        PlacedSample(Sample(row["key"], items, row["label"], row["split"]), row["group"], row["split"])
        for row, items in zip(samples, parts, strict=True)
    ]
    dropped = read_table(work / ALIGNED_FOLDER / "dropped", DROPPED)
    drops = [
        Drop(
            **{name: row[name] for name in DROPPED if name not in ("stage", "unit", "reason")},
            reason=Reason(row["reason"]),
        )
        for row in dropped
    ]
    return Plan(sorted(placed, key=lambda each: each.sample.key), drops)
