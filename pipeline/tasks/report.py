"""Hold what a task reports, as values: the stage evaluate writes the tables, draws the figures and builds the page."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from pipeline.tables.columns import ColumnBatch, Columns

Cell = str | int | float | None
"""Of a table; None where a value is not defined."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class Lazy(Generic[Value]):
    """Values that are made anew each time they are iterated over: a table with a row a sample is never whole in
    memory."""

    make: Callable[[], Iterator[Value]]

    def __iter__(self) -> Iterator[Value]:
        return self.make()


@dataclass(frozen=True)
class Tile:
    """A number at the top of the page, and what it is."""

    value: str
    caption: str


@dataclass(frozen=True)
class ReportTable:
    """A table: written as CSV with the names of `columns`, shown on the page with their titles."""

    columns: Mapping[str, str]
    rows: Iterable[Sequence[Cell]]


@dataclass(frozen=True)
class Matrix:
    """A figure of counts, int64 (n, n): rows the truth, columns the prediction, both named `names`."""

    title: str
    counts: NDArray[np.int64]
    names: Sequence[str]


@dataclass(frozen=True)
class Bars:
    """A figure of scores, 0 to 1 or None: for each name a bar with the first value and a tick at the second.

    `titles` name the two scores; the last bar stands out.
    """

    title: str
    axis: str
    titles: tuple[str, str]
    rows: Mapping[str, tuple[float | None, float | None]]


@dataclass(frozen=True)
class Scatter:
    """A figure of predictions over targets, both (samples,)."""

    title: str
    truth: NDArray[np.float64]
    predicted: NDArray[np.float64]


@dataclass(frozen=True)
class Whiskers:
    """A figure of scores with intervals: for each name a point and a line; the interval may be None.

    `axis` names the scores.
    """

    title: str
    axis: str
    rows: Mapping[str, tuple[float | None, float | None, float | None]]


@dataclass(frozen=True)
class Curves:
    """A figure of lines, each the x and the y of its points, 0 to 1, by name; at most some six.

    `guide` draws a thin line from (0, 0) to (1, 1).
    """

    title: str
    x: str
    y: str
    lines: Mapping[str, tuple[NDArray[np.float64], NDArray[np.float64]]]
    guide: bool = False


Figure = Matrix | Bars | Scatter | Whiskers | Curves


@dataclass(frozen=True)
class Section:
    """A section of the page: a heading, a text, and the names of a figure (with its description) and a table."""

    heading: str
    text: str = ""
    figure: str = ""
    alt: str = ""
    table: str = ""


@dataclass(frozen=True)
class Mistake:
    """A sample that the model got wrong: its row, what was predicted and what is true, each with its probability where
    it has one, and the words before them."""

    row: int
    prediction: str
    truth: str
    probability: float | None = None
    truth_probability: float | None = None
    labels: tuple[str, str] = ("predicted", "actual")


@dataclass(frozen=True)
class TaskReport:
    """All that a task reports.

    Attributes:
        tiles: the most important numbers.
        sections: of the page, in order.
        figures: by name; drawn as `<name>.png`.
        tables: by name; written as `<name>.csv`.
        columns: of `predictions`, the first of them `key`.
        predictions: its rows, one a sample in stored order, in batches.
        mistakes: the worst first.
        mistakes_text: what the page says of them.
        examples: further samples to show, right or wrong.
        examples_text: what the page says of them.
        warnings: lines that stand in red above all else of the page.
        arrays: further arrays, a row a sample in stored order, which may be on disk; written as `<name>.npy`.
    """

    tiles: Sequence[Tile]
    sections: Sequence[Section]
    figures: Mapping[str, Figure]
    tables: Mapping[str, ReportTable]
    columns: Columns
    predictions: Iterable[ColumnBatch]
    mistakes: Sequence[Mistake]
    mistakes_text: str = "With the probabilities of the prediction and of the truth, the worst first."
    examples: Sequence[Mistake] = ()
    examples_text: str = ""
    warnings: Sequence[str] = ()
    arrays: Mapping[str, NDArray[Any]] = field(default_factory=dict)


def format_interval(metrics: Mapping[str, Any], name: str) -> str:
    """Return ` (0.812 to 0.901)`, or nothing where the score has no interval."""
    low, high = metrics.get(f"{name}_low"), metrics.get(f"{name}_high")
    return "" if low is None or high is None else f" ({low:.3f} to {high:.3f})"


def format_score(score: float | None) -> str:
    """Return three decimals, or a dash where the score is not defined."""
    return "–" if score is None else f"{score:.3f}"
