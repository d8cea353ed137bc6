"""Summarize a run in the numbers that are compared between runs: `7_report/summary.json`, for `dvc exp show`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.tables.contracts import DROPPED, DROPPED_TABLES, SHARDS_FOLDER
from pipeline.tables.dropped_rows import PART
from pipeline.tables.table_files import read_batches
from shardwright.format.manifest import read_manifest


def summarize_run(data: Path, metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """Return a flat object: the scores, the samples of each split, and what each stage dropped, in its unit.

    Args:
        data: outputs of the stages before; of the tables `dropped`, those that are there count.
        metrics: the content of `metrics.json`; its objects, such as scores of each class, are left out.

    Raises:
        InputError: a table is damaged.
    """
    scores = {name: value for name, value in metrics.items() if value is None or isinstance(value, int | float)}
    splits = read_manifest(data / SHARDS_FOLDER).splits
    samples = {f"samples_{name}": split.samples for name, split in splits.items()}
    dropped = {
        f"dropped_{stage}": count_dropped(data / table)
        for stage, table in DROPPED_TABLES.items()
        if (data / table).is_dir()
    }
    return {**scores, **metrics.get("own", {}), **samples, **dropped}


def count_dropped(table: Path) -> int:
    """Return how many units a stage dropped; rows about parts of units that were kept do not count.

    Raises:
        InputError: the table is damaged.
    """
    return sum(
        count
        for batch in read_batches(table, DROPPED, ["unit", "count"])
        for unit, count in zip(batch["unit"].to_pylist(), batch["count"].to_pylist(), strict=True)
        if unit != PART
    )
