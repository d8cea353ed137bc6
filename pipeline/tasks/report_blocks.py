"""Build the blocks that the reports of several tasks have alike."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pipeline.tables.table_files import GROUP_ROWS
from pipeline.tasks.report import Bars, ReportTable, Section, Tile, format_interval, format_score
from pipeline.tasks.task import Predictions, name_subset
from shardwright.format.index import decode_key

FLOOR = "floor_"
"""Before the name of a score in `metrics.json`: the same score of something that learned nothing."""

PARTS_TEXT = "The same model, shown only some of the parts of each sample."


def to_json(value: float) -> float | None:
    """Return a score as JSON, which has neither NaN nor infinity."""
    return value if math.isfinite(value) else None


def list_subset_scores(predictions: Predictions) -> dict[str, dict[str, float | None]]:
    """Return the block `subsets` of `metrics.json`: the scores by subset of the parts."""
    return {
        name_subset(subset): {name: to_json(value) for name, value in scores.items()}
        for subset, scores in predictions.scores.items()
    }


def describe_no_samples(metrics: Mapping[str, Any]) -> str:
    """Return the line for the summary of a split without samples."""
    return f"the split {metrics['split']} has no samples: there is nothing to measure"


def describe_scores(metrics: Mapping[str, Any], titles: Mapping[str, str], floor: str = "floor") -> str:
    """Return the line for the summary: each score with its interval, and beside it its floor, which is called
    `floor`."""
    shown = [
        f"{title} {format_score(metrics[name])}{format_interval(metrics, name)}"
        f" ({floor} {format_score(metrics[FLOOR + name])})"
        for name, title in titles.items()
    ]
    return f"{metrics['split']}: {', '.join(shown)}"


def build_tiles(metrics: Mapping[str, Any], titles: Mapping[str, str], floor: str = "") -> list[Tile]:
    """Return a tile a score, with its interval and, where `floor` says what it is called, its floor; and one for the
    samples."""
    tiles = [
        Tile(
            format_score(metrics[name]),
            f"{title}{format_interval(metrics, name)}"
            + (f", {floor} {format_score(metrics[FLOOR + name])}" if floor else ""),
        )
        for name, title in titles.items()
    ]
    return [*tiles, Tile(str(metrics["samples"]), f"samples in the split {metrics['split']}")]


def tabulate_scores(metrics: Mapping[str, Any], titles: Mapping[str, str], floor: str = "floor") -> ReportTable:
    """Return the table of scores and their floors, which are called `floor`."""
    rows = [[title, metrics[name], metrics[FLOOR + name]] for name, title in titles.items()]
    return ReportTable({"score": "score", "value": "model", "floor": floor}, rows)


def tabulate_block(
    block: Mapping[str, Mapping[str, Any]], name: tuple[str, str], titles: Mapping[str, str]
) -> ReportTable:
    """Return the table of a block of `metrics.json`, a row a name in it; `name` is the column of these and its
    title."""
    rows = [[each, *(values[column] for column in titles)] for each, values in block.items()]
    return ReportTable(dict([name, *titles.items()]), rows)


def tabulate_subsets(metrics: Mapping[str, Any], titles: Mapping[str, str]) -> ReportTable:
    """Return the table of the scores by subset of the parts."""
    return tabulate_block(metrics["subsets"], ("subset", "parts"), titles)


PARTS_SECTION = Section("Parts", PARTS_TEXT, figure="subsets", alt="Scores with every subset of the parts")
"""That of a report with the figure of `plan_subsets`."""


def plan_subsets(metrics: Mapping[str, Any], names: Sequence[str], titles: Mapping[str, str]) -> Bars:
    """Return the figure of two scores by subset of the parts: a bar and a tick."""
    first, second = names
    rows = {subset: (scores[first], scores[second]) for subset, scores in metrics["subsets"].items()}
    return Bars("Scores by subset of the parts", "score with these parts only", (titles[first], titles[second]), rows)


def divide_rows(predictions: Predictions) -> Iterator[tuple[slice, list[str]]]:
    """Yield the rows of `GROUP_ROWS` samples at a time, and their keys."""
    for start in range(0, len(predictions.keys), GROUP_ROWS):
        rows = slice(start, start + GROUP_ROWS)
        yield rows, [decode_key(key) for key in predictions.keys[rows].tolist()]
