"""Compare modalities: train and measure a separate model for every subset of them, with several seeds.

All use the dataset in `data/` and the blocks `train` and `evaluate` of `params.yaml`, in which nothing is changed but
`train.modalities` and `train.seed`.

`python -m benchmarks.demo_table` (about 10 minutes on 2 cores), or `make demo-table`.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pipeline.config.check_params import check_block, read_params
from pipeline.config.params import RunParams
from pipeline.evaluate.params import EvaluateParams
from pipeline.evaluate.step import evaluate
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tasks.task import Subset, list_subsets, name_subset
from pipeline.train.params import TrainParams
from pipeline.train.step import train

RESULT = Path("benchmarks/results/demo_table.md")


@dataclass(frozen=True)
class Recipe:
    """The blocks of `params.yaml` by which models are trained and measured."""

    train: TrainParams
    evaluate: EvaluateParams
    run: RunParams


@dataclass(frozen=True)
class Row:
    """Scores of the models of one subset of the modalities, one for each seed."""

    subset: Subset
    macro_f1: Sequence[float]
    accuracy: Sequence[float]


def measure(shards: Path, recipe: Recipe, subset: Subset, seed: int) -> dict[str, Any]:
    """Train and evaluate one model on the dataset in `shards`; return its metrics."""
    params = recipe.train.model_copy(update={"modalities": subset, "seed": seed})
    with tempfile.TemporaryDirectory() as name:
        data = Path(name)
        (data / SHARDS_FOLDER).symlink_to(shards.resolve())
        workspace = Workspace(data, data, data / "cache", recipe.run)  # outputs are where the next stage reads
        train(params, workspace)
        assert (data / MODEL_FOLDER).is_dir(), "train writes it"
        evaluate(recipe.evaluate, workspace)
        metrics: dict[str, Any] = json.loads((data / REPORT_FOLDER / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def measure_all(shards: Path, recipe: Recipe, seeds: int) -> list[Row]:
    """Return a row for each subset of the modalities in `params.yaml`, the smallest first."""
    assert recipe.train.modalities, "train.modalities names those to compare"
    rows = []
    for subset in list_subsets(recipe.train.modalities):
        metrics = [measure(shards, recipe, subset, seed) for seed in range(seeds)]
        rows.append(Row(subset, [m["macro_f1"] for m in metrics], [m["accuracy"] for m in metrics]))
        sys.stderr.write(format_row(rows[-1]) + "\n")
    return rows


def format_table(rows: Sequence[Row]) -> str:
    """Return the rows in Markdown, and how far the best fused model is ahead of the best single modality."""
    best = {
        fused: max((row for row in rows if (len(row.subset) > 1) == fused), key=lambda row: mean(row.macro_f1))
        for fused in {len(row.subset) > 1 for row in rows}
    }
    lines = [
        f"Mean and standard deviation over {len(rows[0].macro_f1)} seeds, on samples that training did not see.",
        "",
        "| modalities | macro F1 | accuracy |",
        "| --- | --- | --- |",
        *map(format_row, rows),
    ]
    if len(best) == 2:
        margin = 100 * (mean(best[True].macro_f1) - mean(best[False].macro_f1))
        names = name_subset(best[True].subset), name_subset(best[False].subset)
        lines += ["", f"{names[0]} is {margin:.1f} points of macro F1 ahead of {names[1]} alone."]
    return "\n".join(lines) + "\n"


def format_row(row: Row) -> str:
    """Return one line of the table, in per cent."""
    return f"| {name_subset(row.subset)} | {format_spread(row.macro_f1)} | {format_spread(row.accuracy)} |"


def format_spread(values: Sequence[float]) -> str:
    """Return mean and standard deviation in per cent: `93.1 ± 0.8`."""
    return f"{100 * mean(values):.1f} ± {100 * stdev(values) if len(values) > 1 else 0:.1f}"


def main() -> None:
    """Measure, print the table and write it to a file."""
    parser = argparse.ArgumentParser(
        description="Train a model for every subset of the modalities and print a table of their scores."
    )
    parser.add_argument("--data", type=Path, default=Path("data"), help="the folder with 5_shards")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--result", type=Path, default=RESULT, help="the file to write the table to")
    options = parser.parse_args()
    blocks = read_params(Path("params.yaml"))
    recipe = Recipe(
        check_block(blocks, "train", TrainParams),
        check_block(blocks, "evaluate", EvaluateParams),
        check_block(blocks, "run", RunParams),
    )
    table = format_table(measure_all(options.data / SHARDS_FOLDER, recipe, options.seeds))
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(table, encoding="utf-8")
    sys.stdout.write(table)


if __name__ == "__main__":
    main()
