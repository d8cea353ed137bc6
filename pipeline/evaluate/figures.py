"""The report's figures as PNG: what was taken for what, what each modality is worth, how training went.

Drawn on canvases of their own, away from any window system and from the user's matplotlib settings, and saved without a
date or a version: the same numbers give the same bytes.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.models.scores import Counts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
"""Classes up to which the confusion matrix has its numbers written in; beyond, colours alone."""


def render(draw: Callable[["Figure"], None], width: float, height: float) -> bytes:
    """The PNG of what `draw` puts on a figure of `width` × `height` inches."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(), warnings.catch_warnings():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        # A class named in a script that the font lacks shows as boxes in the picture; the page has it as text.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        draw(figure)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def draw_confusion(confusion: Counts, classes: Sequence[str]) -> bytes:
    """Rows the truth, columns the prediction; the colour is the share of the row, the number the samples."""
    totals = np.maximum(confusion.sum(1, keepdims=True), 1)
    side = min(14.0, 2.6 + 0.46 * len(classes))
    names = [shorten(name) for name in classes]

    def draw(figure: "Figure") -> None:
        from matplotlib.colors import LinearSegmentedColormap

        axes = figure.add_subplot()
        colours = LinearSegmentedColormap.from_list("", ["#ffffff", PALE_BLUE, BLUE, "#17406f"])
        axes.imshow(confusion / totals, cmap=colours, vmin=0, vmax=1)
        axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(len(names)), names)
        axes.tick_params(length=0)
        axes.set(title="What was taken for what", xlabel="predicted", ylabel="actual")
        axes.spines[:].set_visible(False)
        for edge in range(len(names) + 1):
            axes.axhline(edge - 0.5, color=LINE, linewidth=0.8)
            axes.axvline(edge - 0.5, color=LINE, linewidth=0.8)
        if len(names) <= MAX_NUMBERED:
            write_numbers(axes, confusion, confusion / totals)

    return render(draw, side, side)


def write_numbers(axes: "Axes", confusion: Counts, shares: "np.ndarray[Any, np.dtype[np.float64]]") -> None:
    """The counts in their cells, but for zeros."""
    for row, column in np.argwhere(confusion).tolist():
        colour = "white" if shares[row, column] > 0.45 else INK
        axes.text(column, row, str(confusion[row, column]), ha="center", va="center", color=colour, fontsize=9)


def draw_subsets(subsets: Mapping[str, Mapping[str, float | None]]) -> bytes:
    """A bar a subset of the modalities: macro F1, and a tick for accuracy."""
    names = list(subsets)
    macro_f1 = [subsets[name]["macro_f1"] or 0.0 for name in names]
    accuracy = [subsets[name]["accuracy"] or 0.0 for name in names]

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        places = np.arange(len(names))
        colours = [PALE_BLUE] * (len(names) - 1) + [BLUE]
        axes.barh(places, macro_f1, color=colours, height=0.62, label="macro F1")
        axes.plot(accuracy, places, "|", color=ORANGE, markersize=15, markeredgewidth=2.2, label="accuracy")
        for place, value in enumerate(macro_f1):
            colour = "white" if place == len(names) - 1 and value > 0.1 else INK
            axes.text(0.012, place, f"{value:.3f}", va="center", color=colour)
        axes.set_yticks(places, names)
        axes.invert_yaxis()
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set(title="What the modalities are worth", xlim=(0, 1), xlabel="score with these modalities alone")
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside lower right", ncols=2, reverse=True)

    return render(draw, 7.2, 1.9 + 0.42 * len(names))


def draw_history(history: Mapping[str, Sequence[float]], best: int) -> bytes:
    """Losses and validation scores over the epochs, with a line at the best one (counted from 1).

    `history` has the columns of `history.tsv`; values that are missing are NaN.
    """
    epochs = history["epoch"]

    def draw(figure: "Figure") -> None:
        from matplotlib.ticker import MaxNLocator

        losses, scores = figure.subplots(1, 2)
        losses.plot(epochs, history["train_loss"], color=PALE_BLUE, linewidth=2, label="training")
        losses.plot(epochs, history["val_loss"], color=BLUE, linewidth=2, label="validation")
        losses.set(title="Loss", ylim=(0, None))
        scores.plot(epochs, history["val_accuracy"], color=ORANGE, linewidth=2, label="accuracy")
        scores.plot(epochs, history["val_macro_f1"], color=BLUE, linewidth=2, label="macro F1")
        scores.set(title="Validation scores", ylim=(0, 1.02))
        for axes in (losses, scores):
            axes.axvline(best, color=MUTED, linewidth=1, linestyle=(0, (4, 3)), label=f"best: epoch {best}")
            axes.set_xlabel("epoch")
            axes.grid(axis="y")
            axes.tick_params(length=0)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            axes.set_xlim(1, max(2, epochs[-1]))
        losses.legend(loc="upper right")
        scores.legend(loc="lower right")

    return render(draw, 9.4, 3.6)


def shorten(name: str) -> str:
    """A class's name for an axis."""
    return name if len(name) <= 24 else name[:23] + "…"
