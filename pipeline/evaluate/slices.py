"""Measure the main scores by the values of columns of the samples' metadata: by language, by source."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from pipeline.errors import ParamsError
from pipeline.evaluate.intervals import plan_whiskers
from pipeline.evaluate.metadata import Categories
from pipeline.evaluate.supplement import Supplement
from pipeline.tasks.metrics.bootstrap import estimate_intervals, name_ends
from pipeline.tasks.metrics.sums import GroupSums
from pipeline.tasks.report import Cell, ReportTable, Section
from pipeline.tasks.report_blocks import to_json
from pipeline.tasks.task import Predictions

MOST_VALUES = 100
"""Values of a column, each with an interval of its own: a column with more tells samples apart, not slices."""

NO_VALUE = "(none)"

TEXT = (
    "The scores of the samples with each value of `{name}`, with 95 % intervals. Many slices are many chances: one of "
    "twenty is expected to lie outside its interval."
)


def measure_slices(
    tabulate: Callable[[Predictions], GroupSums], predictions: Predictions, columns: Mapping[str, Categories]
) -> Supplement:
    """Return the block `slices`: by column and value the samples, the groups, and the main scores with their intervals.

    Raises:
        ParamsError: a column has more than `MOST_VALUES` values.
    """
    blocks, sections, figures, tables = {}, [], {}, {}
    for name, categories in columns.items():
        if len(categories.values) > MOST_VALUES:
            raise ParamsError(
                f"evaluate.slices has {name}, which has {len(categories.values)} values in the split; it may have "
                f"{MOST_VALUES}"
            )
        blocks[name] = block = measure_column(tabulate, predictions, categories)
        if not block:
            continue
        scores = [key for key in next(iter(block.values())) if f"{key}_low" in next(iter(block.values()))]
        titles = {name: name, "samples": "samples", "groups": "groups"}
        titles |= {key: key.replace("_low", " from").replace("_high", " to") for key in next(iter(block.values()))}
        rows: list[list[Cell]] = [[value, *values.values()] for value, values in block.items()]
        key = f"slices_{name.replace('.', '_')}"
        last = scores[-1]
        whiskers = [[value, each[last], each[f"{last}_low"], each[f"{last}_high"]] for value, each in block.items()]
        figures[key] = plan_whiskers(f"{last} by {name}", whiskers, last)
        tables[key] = ReportTable(titles, rows)
        sections.append(Section(f"By {name}", TEXT.format(name=name), key, f"{last} by {name}", key))
    return Supplement(metrics={"slices": blocks}, sections=sections, figures=figures, tables=tables)


def measure_column(
    tabulate: Callable[[Predictions], GroupSums], predictions: Predictions, categories: Categories
) -> dict[str, dict[str, Any]]:
    """Return the scores by value, in the order of the values."""
    order = sorted(range(len(categories.values)), key=lambda number: categories.values[number] or "")
    block = {}
    for number in order:
        rows = np.flatnonzero(categories.numbers == number)
        sums = tabulate(predictions.select(rows))
        scores = {name: to_json(value) for name, value in sums.score().items()}
        groups = len(np.unique(predictions.groups[rows]))
        block[categories.values[number] or NO_VALUE] = {
            "samples": len(rows),
            "groups": groups,
            **scores,
            **name_ends(estimate_intervals(sums)),
        }
    return block
