"""Measure a retrieval and report on it: recall, ranks and the values of chance for each direction."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import ColumnBatch, Columns
from pipeline.tasks.metrics.ranks import (
    DEPTHS,
    Ranking,
    count_same_class,
    name_scores,
    rank_candidates,
    score_chance,
    score_ranks,
    title_score,
)
from pipeline.tasks.metrics.sums import GroupSums, count_shares, deal_groups, join_tallies
from pipeline.tasks.metrics.table import SCORES
from pipeline.tasks.metrics.tally import Floats, Tally
from pipeline.tasks.report import (
    Bars,
    Lazy,
    Mistake,
    ReportTable,
    Section,
    TaskReport,
    Tile,
    format_interval,
    format_score,
)
from pipeline.tasks.report_blocks import divide_rows, to_json
from pipeline.tasks.task import Predictions
from shardwright.format.index import decode_key

if TYPE_CHECKING:
    from pipeline.tasks.retrieval import RetrievalPlan

NO_SAMPLES = "no sample of the split has two of the parts"
CHANCE = "chance_"
CLASS_RECALL = "class_recall_at_1"
INTERVALS = ("recall_at_1", "mrr")
"""The scores that have intervals."""


@dataclass(frozen=True)
class Direction:
    """A search with one part for another: the rows of the samples that have both, and what it found among these."""

    query: str
    candidate: str
    rows: NDArray[np.int64]
    ranking: Ranking

    @property
    def name(self) -> str:
        """In reports: `image to text`."""
        return f"{self.query} to {self.candidate}"


def select_pair(vectors: NDArray[np.float32], one: int, other: int) -> NDArray[np.int64]:
    """Return the rows of the samples that have both parts, of vectors (samples, parts, width) that may be on disk:
    those of parts that are not there are zeros."""
    return np.flatnonzero(vectors[:, one].any(1) & vectors[:, other].any(1))


def list_directions(predictions: Predictions, plan: "RetrievalPlan") -> list[Direction]:
    """Search in both directions of every pair of parts."""
    vectors = predictions.columns["vectors"]

    def search() -> list[Direction]:
        directions = []
        for one, other in itertools.permutations(range(len(plan.parts)), 2):
            rows = select_pair(vectors, one, other)
            ranking = rank_candidates(vectors[rows, one], vectors[rows, other])
            directions.append(Direction(plan.parts[one], plan.parts[other], rows, ranking))
        return directions

    found: list[Direction] = predictions.derive("directions", search)
    return found


def measure(predictions: Predictions, plan: "RetrievalPlan", split: str) -> dict[str, Any]:
    """Return the content of `metrics.json`: JSON without NaN.

    Each score stands beside the same with `chance_` before its name: its mean where candidates come in random order.
    Those of the split are the means over all directions. `class_recall_at_1` is the share of queries that find a sample
    of their class first; its chance is that of two random samples.
    """
    labels = predictions.columns.get("label")
    directions = {
        each.name: _measure_direction(each, None if labels is None else labels[each.rows].astype(np.int64))
        for each in list_directions(predictions, plan)
    }
    found = [scores for scores in directions.values() if scores["samples"]]
    names = [*name_scores(), *([CLASS_RECALL] if labels is not None else [])]
    means = {
        name: float(np.mean([scores[name] for scores in found])) if found else None
        for base in names
        for name in (base, CHANCE + base)
    }
    return {
        "split": split,
        "samples": len(predictions.keys),
        **means,
        "directions": directions,
        "undefined": dict.fromkeys((name for name, value in means.items() if value is None), NO_SAMPLES),
    }


def _measure_direction(direction: Direction, labels: NDArray[np.int64] | None) -> dict[str, Any]:
    count = len(direction.rows)
    scores = score_ranks(direction.ranking.ranks)
    chance = {CHANCE + name: value for name, value in score_chance(count).items()}
    if labels is not None:
        shares = np.bincount(labels) / max(1, count)
        same = count_same_class(direction.ranking, labels) if count > 1 else count
        scores[CLASS_RECALL] = same / count if count else math.nan
        chance[CHANCE + CLASS_RECALL] = float((shares**2).sum()) if count else math.nan
    values = {name: to_json(value) for name, value in {**scores, **chance}.items()}
    return {"samples": count, **values}


def tabulate(predictions: Predictions, plan: "RetrievalPlan") -> GroupSums:
    """Return `INTERVALS` as functions of sums by group: means over the directions of means over their queries."""
    searched = list_directions(predictions, plan)
    directions = [each for each in searched if len(each.rows)] or searched
    rows = deal_groups(predictions.groups, 6 * len(directions))
    tallies = []
    for direction in directions:
        ranks = direction.ranking.ranks
        for right in (ranks == 1, 1 / ranks):
            columns = np.zeros((2, len(rows)))
            columns[:, direction.rows] = right, np.ones(len(ranks))
            tallies.append(count_shares(rows, *columns))

    def compute(each: Sequence[Tally]) -> dict[str, Floats]:
        means = [SCORES["accuracy"].compute(tally) for tally in each]
        return {name: np.mean(means[number :: len(INTERVALS)], axis=0) for number, name in enumerate(INTERVALS)}

    return join_tallies(tallies, compute)


def describe_metrics(metrics: Mapping[str, Any]) -> list[str]:
    """Return the line for the summary: means over the directions, each beside its value of chance."""
    if metrics["recall_at_1"] is None:
        return [f"the split {metrics['split']} has nothing to find: {NO_SAMPLES}"]
    shown = [
        f"{title_score(name)} {_format(name, metrics[name])} (chance {_format(name, metrics[CHANCE + name])})"
        for name in ("recall_at_1", f"recall_at_{DEPTHS[-1]}", "median_rank")
    ]
    return [f"{metrics['split']}: {', '.join(shown)}, means over {len(metrics['directions'])} directions"]


def _format(name: str, value: float | None) -> str:
    return f"{value:.1f}" if name == "median_rank" and value is not None else format_score(value)


TEXT = (
    "With one part of each sample as the query, all samples are ordered by the similarity of another part. Recall@k: "
    "the share of queries whose own sample is among the first k. Ties count against the model. Chance: the same with "
    "candidates in random order. Samples that lack one of the two parts are left out."
)


def build_report(predictions: Predictions, plan: "RetrievalPlan", metrics: Mapping[str, Any], worst: int) -> TaskReport:
    """Return the tables, the figure, the sections of the page, and the vectors of all samples."""
    directions = list(list_directions(predictions, plan))
    depth = f"recall_at_{DEPTHS[-1]}"
    bars = {name: (each[depth], each[CHANCE + depth]) for name, each in metrics["directions"].items()}
    figure = Bars(f"{title_score(depth)} by direction", title_score(depth), (title_score(depth), "chance"), bars)
    return TaskReport(
        tiles=_build_tiles(metrics),
        sections=[
            Section("Directions", TEXT, figure="directions", alt=f"{title_score(depth)} by direction, and chance"),
            Section("Ranks", table="directions"),
        ],
        figures={"directions": figure} if metrics["recall_at_1"] is not None else {},
        tables={"directions": _build_table(metrics)},
        columns=_list_columns(directions),
        predictions=Lazy(lambda: _list_ranks(predictions, directions)),
        mistakes=_find_worst(predictions, directions, worst),
        mistakes_text="Queries whose own sample came last, with the key of the sample that came first.",
        arrays={"vectors": predictions.columns["vectors"]},
    )


def _build_tiles(metrics: Mapping[str, Any]) -> list[Tile]:
    names = ("recall_at_1", f"recall_at_{DEPTHS[-1]}", "median_rank", CLASS_RECALL)
    tiles = [
        Tile(
            _format(name, metrics[name]),
            f"{title_score(name).replace('_', ' ')}{format_interval(metrics, name)}"
            f", chance {_format(name, metrics[CHANCE + name])}",
        )
        for name in names
        if name in metrics
    ]
    return [*tiles, Tile(str(metrics["samples"]), f"samples in the split {metrics['split']}")]


def _build_table(metrics: Mapping[str, Any]) -> ReportTable:
    names = [name for name in metrics if name.removeprefix(CHANCE) in (*name_scores(), CLASS_RECALL)]
    columns = {"direction": "query to candidate", "samples": "samples"}
    for name in names:
        title = title_score(name.removeprefix(CHANCE)).replace("_", " ")
        columns[name] = f"chance of {title}" if name.startswith(CHANCE) else title
    rows = [
        [name, each["samples"], *(each[column] for column in names)] for name, each in metrics["directions"].items()
    ]
    return ReportTable(columns, rows)


def _list_columns(directions: Sequence[Direction]) -> Columns:
    ranks: dict[str, Any] = {f"rank_{each.query}_to_{each.candidate}": "int64?" for each in directions}
    return {"key": "string", **ranks}


def _list_ranks(predictions: Predictions, directions: Sequence[Direction]) -> Iterator[ColumnBatch]:
    """Yield the rank of each sample in each direction, null where it lacks a part, `GROUP_ROWS` samples at a time."""
    names = list(_list_columns(directions))[1:]
    for place, keys in divide_rows(predictions):
        start, batch = place.start, dict[str, Any](key=keys)
        for name, direction in zip(names, directions, strict=True):
            ranks: list[int | None] = [None] * len(keys)
            first, last = np.searchsorted(direction.rows, (start, start + len(keys)))
            for row, rank in zip(direction.rows[first:last], direction.ranking.ranks[first:last], strict=True):
                ranks[row - start] = int(rank)
            batch[name] = ranks
        yield batch


def _find_worst(predictions: Predictions, directions: Sequence[Direction], count: int) -> list[Mistake]:
    """Return the queries with the highest ranks, at most one a sample, then by key."""
    worst: dict[int, tuple[int, Direction, int]] = {}
    for direction in directions:
        ranks = direction.ranking.ranks
        for at in np.argsort(-ranks, kind="stable")[:count].tolist():
            row = int(direction.rows[at])
            if ranks[at] > 1 and ranks[at] > worst.get(row, (0,))[0]:
                worst[row] = (int(ranks[at]), direction, at)
    chosen = sorted(worst.items(), key=lambda item: (-item[1][0], predictions.keys[item[0]]))[:count]
    return [
        Mistake(
            row=row,
            prediction=decode_key(predictions.keys[direction.rows[direction.ranking.nearest[at]]]),
            truth=f"rank {rank} of {len(direction.rows)}, {direction.name}",
            labels=("first came", "its own has"),
        )
        for row, (rank, direction, at) in chosen
    ]
