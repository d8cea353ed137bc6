"""Declare what the stage evaluate adds to `7_report/metrics.json` of every task."""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Score = Annotated[float, Field(ge=0, le=1)] | None
Count = Annotated[int, Field(ge=0)]


class Document(BaseModel):
    """A JSON object with these keys and no others."""

    model_config = ConfigDict(extra="forbid")


class Leaks(Document):
    """Samples of the split that share something with another split: their group, or by part items with the same bytes
    or nearly the same content."""

    groups: Count
    exact: dict[str, Count]
    near: dict[str, Count]


class SeedScores(Document):
    """A score over the models of several seeds."""

    mean: float | None
    std: float | None
    low: float | None
    high: float | None
    values: dict[str, float | None]
    ensemble: float | None = None


class CalibrationBin(Document):
    """Predictions whose probability is in a bin: their number, mean probability, and the share that is right."""

    low: float
    high: float
    samples: Count
    confidence: float
    accuracy: float


class Areas(Document):
    """The areas under the curves of a class."""

    roc_auc: Score
    average_precision: Score


PROBABILITY_SUPPLEMENTS: dict[str, Any] = {
    "calibration_error": (Score, None),
    "calibration": (list[CalibrationBin], []),
    "roc_auc": (Score, None),
    "average_precision": (Score, None),
    "curves": (dict[str, Areas], {}),
}
"""What `metrics.json` of a task with probabilities may have."""

SUPPLEMENTS: dict[str, Any] = {
    "own": (dict[str, Score], {}),
    "leaks": (Leaks | None, None),
    "seeds": (dict[str, SeedScores], {}),
    "noise": (dict[str, dict[str, dict[str, float | None]]], {}),
    "slices": (dict[str, dict[str, dict[str, float | None]]], {}),
}
"""What `metrics.json` of every task may have."""
