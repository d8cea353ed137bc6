"""Draw figures of the report as PNG: a matrix of counts, bars of scores, the history of training.

Drawn without a window system and without the user's matplotlib settings, and saved without a date or a version: the
same numbers give the same bytes.
"""

import io
import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.history import SCORE_PREFIX
from pipeline.tasks.report import Bars, Matrix, Scatter

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

INK = "#22303c"
MUTED = "#6b7a88"
LINE = "#d9e0e6"
BLUE = "#2f6db3"
PALE_BLUE = "#a9c6e6"
ORANGE = "#d9772b"

STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 10,
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $x$
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 12,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.facecolor": "white",
    "legend.edgecolor": "white",
    "legend.framealpha": 0.9,
    "savefig.dpi": 144,
    "savefig.facecolor": "white",
}

MAX_NUMBERED = 20
"""Rows up to which a matrix has its counts written in the cells; larger ones have colours only."""


MAX_POINTS = 5000
"""Samples whose points are drawn: more would be one blot."""


def render(draw: Callable[["Figure"], None], width: float, height: float) -> bytes:
    """Return the PNG of what `draw` puts on a figure of `width` × `height` inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        # A class named in a script that the font lacks shows as boxes in the figure; the page has it as text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_matrix(matrix: Matrix) -> bytes:
    """Draw counts: the colour is the share of the row, the number the count."""
    shares = matrix.counts / np.maximum(matrix.counts.sum(1, keepdims=True), 1)
    side = min(14.0, 2.6 + 0.46 * len(matrix.names))
    names = [shorten(name) for name in matrix.names]

    def draw(figure: "Figure") -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.add_subplot()
        colours = LinearSegmentedColormap.from_list("", ["#ffffff", PALE_BLUE, BLUE, "#17406f"])
        axes.imshow(shares, cmap=colours, vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.set(title=matrix.title, xlabel="predicted", ylabel="actual")
        axes.spines[:].set_visible(False)
        for edge in range(len(names) + 1):
            axes.axhline(edge - 0.5, color=LINE, linewidth=0.8)
            axes.axvline(edge - 0.5, color=LINE, linewidth=0.8)
        if len(names) <= MAX_NUMBERED:
            write_counts(axes, matrix.counts, shares)

    return render(draw, side, side)


def write_counts(axes: "Axes", counts: "NDArray[np.int64]", shares: "NDArray[np.float64]") -> None:
    """Write the counts into their cells, except zeros."""
    for row, column in np.argwhere(counts).tolist():
        colour = "white" if shares[row, column] > 0.45 else INK
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=9)


def draw_bars(bars: Bars) -> bytes:
    """Draw a bar and a tick for each name."""
    names = list(bars.rows)
    lengths = [first or 0.0 for first, _ in bars.rows.values()]
    ticks = [second or 0.0 for _, second in bars.rows.values()]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        heights = np.arange(len(names))
        colours = [PALE_BLUE] * (len(names) - 1) + [BLUE]
        axes.barh(heights, lengths, color=colours, height=0.62, label=bars.titles[0])
        axes.plot(ticks, heights, "|", color=ORANGE, markersize=15, markeredgewidth=2.2, label=bars.titles[1])
        for height, value in enumerate(lengths):
            colour = "white" if height == len(names) - 1 and value > 0.1 else INK
            axes.text(0.012, height, f"{value:.3f}", va="center", color=colour)
        axes.set_yticks(heights, names)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set(title=bars.title, xlim=(0, 1), xlabel=bars.axis)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower right", ncols=2, reverse=True)

    return render(draw, 7.2, 1.9 + 0.42 * len(names))


def draw_scatter(scatter: Scatter) -> bytes:
    """Draw a point a sample, the first `MAX_POINTS`, and the line of predictions without an error."""
    truth, predicted = scatter.truth[:MAX_POINTS], scatter.predicted[:MAX_POINTS]
    ends = [float(min(truth.min(), predicted.min())), float(max(truth.max(), predicted.max()))]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        axes.plot(ends, ends, color=LINE, linewidth=1.5)
        axes.plot(truth, predicted, ".", color=BLUE, markersize=4, alpha=0.6)
        axes.set(title=scatter.title, xlabel="target", ylabel="prediction")
        axes.grid()
        axes.tick_params(length=0)

    return render(draw, 6.0, 5.4)


def draw_history(history: Mapping[str, Sequence[float]], best: int, titles: Mapping[str, str]) -> bytes:
    """Draw losses and validation scores over the epochs, with a line at the best one (counted from 1).

    `history` has the columns of `history.tsv`; missing values are NaN. `titles` are those of the scores by name.
    """
    epochs = history["epoch"]
    scores = list(titles)

    def is_beyond(score: str) -> bool:
        return any(value < 0 or value > 1 for value in history[f"{SCORE_PREFIX}{score}"])

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        left, right = figure.subplots(1, 2)
        left.plot(epochs, history["train_loss"], color=PALE_BLUE, linewidth=2, label="training")
        left.plot(epochs, history["val_loss"], color=BLUE, linewidth=2, label="validation")
        left.set(title="Loss", ylim=(0, None))
        colours = list(itertools.islice(itertools.cycle((BLUE, ORANGE, PALE_BLUE, MUTED)), len(scores)))
        for name, colour in zip(scores, reversed(colours), strict=True):  # the score that selects comes last
            values = history[f"{SCORE_PREFIX}{name}"]
            right.plot(epochs, values, color=colour, linewidth=2, label=titles[name])
        right.set(title="Validation scores", ylim=None if any(map(is_beyond, titles)) else (0, 1.02))
        for axes in (left, right):
            axes.axvline(best, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"best: epoch {best}")
            axes.set_xlabel("epoch")
            axes.grid(axis="y")
            axes.tick_params(length=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlim(1, max(2, epochs[-1]))
        left.legend(loc="upper right")
        right.legend(loc="lower right")

    return render(draw, 9.4, 3.6)


def shorten(name: str) -> str:
    """Return a class's name, cut for an axis."""
    return name if len(name) <= 24 else name[:23] + "…"
