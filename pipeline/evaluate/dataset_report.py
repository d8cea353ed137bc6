"""Report on a dataset from which no model was trained: its splits, its fields, and what was left out."""

from collections.abc import Mapping
from typing import Any

from pipeline.models.untrained import Untrained
from pipeline.tasks.report import Cell, ReportTable, Section, TaskReport, Tile
from shardwright.format.manifest import Manifest


def measure_dataset(manifest: Manifest, split: str, untrained: Untrained) -> dict[str, Any]:
    """Return the content of `metrics.json`: the samples of the split, and under `undefined` why there is no score."""
    counted = manifest.splits.get(split)
    samples = 0 if counted is None else counted.samples
    return {"split": split, "samples": samples, "undefined": {"scores": untrained.reason}}


def describe_dataset(manifest: Manifest, summary: Mapping[str, Any], untrained: Untrained) -> TaskReport:
    """Return the tables and the sections of the page."""
    splits: list[list[Cell]] = [[name, split.samples, len(split.shards)] for name, split in manifest.splits.items()]
    fields: list[list[Cell]] = [
        [name, field.dtype, " × ".join(map(str, field.shape)) or "1", field.axes, field.unit]
        for name, field in manifest.fields.items()
    ]
    dropped: list[list[Cell]] = [
        [name.removeprefix("dropped_"), value] for name, value in summary.items() if name.startswith("dropped_")
    ]
    return TaskReport(
        tiles=[Tile(str(samples), f"samples in the split {name}") for name, samples, _ in splits],
        sections=[
            Section("No model", f"{untrained.reason[:1].upper()}{untrained.reason[1:]}."),
            Section("Splits", table="splits"),
            Section("Fields", "The arrays that every sample has.", table="fields"),
            Section("Left out", "What each stage dropped, in its unit: URLs, files, items, samples.", table="dropped"),
        ],
        figures={},
        tables={
            "splits": ReportTable({"split": "split", "samples": "samples", "shards": "shards"}, splits),
            "fields": ReportTable(
                {"field": "field", "dtype": "type", "shape": "shape", "axes": "axes", "unit": "unit"}, fields
            ),
            "dropped": ReportTable({"stage": "stage", "dropped": "dropped"}, dropped),
        },
        columns={},
        predictions=[],
        mistakes=[],
    )
