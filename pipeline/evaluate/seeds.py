"""Measure how much scores depend on the seed of training, where there are models of several seeds."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.evaluate.intervals import plan_whiskers
from pipeline.evaluate.supplement import Supplement
from pipeline.tasks.metrics.bootstrap import LEVEL, round_end
from pipeline.tasks.report import Cell, ReportTable, Section, format_score
from pipeline.tasks.report_blocks import to_json

TEXT = (
    "The scores of models that differ in the seed of training alone, on the same samples: mean, standard deviation, "
    "and the 95 % interval of the mean (Student's t). The rest of the page is on the first seed.{ensemble}"
)
ENSEMBLE_TEXT = " The ensemble predicts the mean of what they all predict."


def measure_seeds(scores: Mapping[int, Mapping[str, float]], ensemble: Mapping[str, float] | None = None) -> Supplement:
    """Return the block `seeds`: for each score mean, standard deviation, interval and the value of each seed.

    Args:
        scores: of the model of each seed, by name; two or more.
        ensemble: of the mean of their predictions, if the task has one.
    """
    names = list(next(iter(scores.values())))
    block = {name: summarize_seeds([each[name] for each in scores.values()]) for name in names}
    for name, values in block.items():
        values["values"] = {str(seed): to_json(each[name]) for seed, each in scores.items()}
        if ensemble is not None:
            values["ensemble"] = to_json(ensemble[name])
    rows: list[list[Cell]] = [
        [name, *(block[name][column] for column in COLUMNS if column in block[name])] for name in names
    ]
    titles = {column: title for column, title in COLUMNS.items() if column in block[names[0]]}
    last = names[-1]
    by_seed = [[f"seed {seed}", each[last], None, None] for seed, each in scores.items() if math.isfinite(each[last])]
    figures = {"seeds": plan_whiskers(f"{last} by seed", by_seed, last)} if by_seed else {}
    shown = [f"{name} {format_score(each['mean'])} ± {format_score(each['std'])}" for name, each in block.items()]
    text = TEXT.format(ensemble="" if ensemble is None else ENSEMBLE_TEXT)
    return Supplement(
        metrics={"seeds": block},
        sections=[Section("Seeds", text, "seeds", "Scores by seed", "seeds")],
        figures=figures,
        tables={"seeds": ReportTable({"score": "score", **titles}, rows)},
        notes=[f"{len(scores)} seeds: {', '.join(shown)}"],
        summary={f"seeds_{name}_{column}": block[name][column] for name in names for column in ("mean", "std")},
    )


COLUMNS = {"mean": "mean", "std": "standard deviation", "low": "from", "high": "to", "ensemble": "ensemble"}


def summarize_seeds(values: Sequence[float]) -> dict[str, Any]:
    """Return `mean`, `std` (of the population that the seeds are drawn from) and the ends of the interval of the mean;
    None where a seed has no such score."""
    from scipy.special import stdtrit

    if not all(map(math.isfinite, values)):
        return dict.fromkeys(("mean", "std", "low", "high"))
    mean, std = float(np.mean(values)), float(np.std(values, ddof=1))
    half = -float(stdtrit(len(values) - 1, (1 - LEVEL) / 2)) * std / math.sqrt(len(values))
    return {"mean": mean, "std": std, "low": round_end(mean - half), "high": round_end(mean + half)}
