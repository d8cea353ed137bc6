"""Compute the metrics of the user's own that `evaluate.metrics` names."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipeline.config.lazy_import import LazyTable
from pipeline.config.plugins import shorten_name
from pipeline.errors import ParamsError

if TYPE_CHECKING:
    from pipeline.tasks.task import Predictions

OWN_METRICS: "LazyTable[Callable[[Predictions, Sequence[str]], float]]" = LazyTable({})

OWN = "own"
"""Their key in `metrics.json`."""


def measure_own(
    names: Sequence[str], predictions: "Predictions", classes: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Return `own` with the value of each metric by its short name, null where it is NaN; nothing without metrics.

    Raises:
        ParamsError: a metric fails, or gives no number; the message has its name.
    """
    if not names:
        return {}
    return {OWN: {shorten_name(name): _measure(name, predictions, classes) for name in names}}


def _measure(name: str, predictions: "Predictions", classes: Sequence[str]) -> float | None:
    metric = OWN_METRICS[name]
    try:
        value = float(metric(predictions, classes))
    except Exception as error:
        raise ParamsError(f"evaluate.metrics: {name} failed: {type(error).__name__}: {error}") from error
    return value if value == value and abs(value) != float("inf") else None


def describe_own(metrics: Mapping[str, Any]) -> list[str]:
    """Return the line of the summary on them: `kappa 0.812`."""
    shown = [
        f"{name} {'undefined' if value is None else f'{value:.3f}'}" for name, value in metrics.get(OWN, {}).items()
    ]
    return [", ".join(shown)] if shown else []
