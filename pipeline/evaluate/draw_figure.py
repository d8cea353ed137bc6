"""Draw any figure of a task, by its type."""

from collections.abc import Callable, Mapping
from itertools import cycle
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.evaluate.figures import (
    BLUE,
    INK,
    LINE,
    MUTED,
    ORANGE,
    PALE_BLUE,
    draw_bars,
    draw_matrix,
    draw_scatter,
    render,
    shorten,
)
from pipeline.tasks.report import Bars, Curves, Figure, Matrix, Scatter, Whiskers

if TYPE_CHECKING:
    from matplotlib import figure


COLOURS = (BLUE, ORANGE, "#4d9a6a", "#8b5fb0", PALE_BLUE, MUTED)
"""Of lines, told apart by their brightness too."""


def draw_figure(plan: Figure) -> bytes:
    """Return the PNG of a figure."""
    return DRAWN[type(plan)](plan)


def draw_whiskers(whiskers: Whiskers) -> bytes:
    """Draw a point and the line of its interval for each name; the axis is 0 to 1 where all values are."""
    names = [shorten(name) for name, values in whiskers.rows.items() if values[0] is not None]
    rows = [(value, low, high) for value, low, high in whiskers.rows.values() if value is not None]
    known = [value for values in rows for value in values if value is not None]
    is_share = all(0 <= value <= 1 for value in known)

    def draw(figure: "figure.Figure") -> None:
        axes = figure.add_subplot()
        heights = np.arange(len(rows))
        for height, (value, low, high) in enumerate(rows):
            if low is not None and high is not None:
                axes.plot([low, high], [height, height], color=MUTED, linewidth=2, solid_capstyle="butt")
            axes.plot(value, height, "o", color=BLUE, markersize=7)
            axes.text(value, height - 0.18, f"{value:.3f}", ha="center", va="bottom", color=INK, fontsize=9)
        axes.set_yticks(heights, names)
        axes.set_ylim(len(rows) - 0.5, -0.7)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set(title=whiskers.title, xlim=(0, 1.02) if is_share else None, xlabel=whiskers.axis)
        axes.spines["left"].set_visible(False)

    return render(draw, 7.2, 1.4 + 0.46 * max(1, len(rows)))


def draw_curves(curves: Curves) -> bytes:
    """Draw each line, with a legend where there are several."""
    widest = max(1.0, *(float(x.max(initial=0)) for x, _ in curves.lines.values()))
    is_share = all(0 <= float(value) <= 1 for _, y in curves.lines.values() for value in (y.min(), y.max()))

    def draw(figure: "figure.Figure") -> None:
        axes = figure.add_subplot()
        if curves.guide:
            axes.plot([0, 1], [0, 1], color=LINE, linewidth=1.5)
        marker = "o" if len(curves.lines) == 1 else ""
        for (name, (x, y)), colour in zip(curves.lines.items(), cycle(COLOURS)):
            axes.plot(x, y, color=colour, linewidth=2, marker=marker, markersize=5, label=shorten(name))
        axes.set(
            title=curves.title,
            xlabel=curves.x,
            ylabel=curves.y,
            xlim=(0, 1.01 * widest),
            ylim=(0, 1.02) if is_share else None,
        )
        axes.grid()
        axes.tick_params(length=0)
        if len(curves.lines) > 1:
            axes.legend(loc="lower right" if curves.guide else "lower left")

    return render(draw, 6.0, 5.4)


DRAWN: Mapping[type[Figure], Callable[[Any], bytes]] = {
    Matrix: draw_matrix,
    Bars: draw_bars,
    Scatter: draw_scatter,
    Whiskers: draw_whiskers,
    Curves: draw_curves,
}
