"""A metric: agreement beyond chance."""

from collections.abc import Sequence

import numpy as np

from pipeline.tasks.task import Predictions


def kappa(predictions: Predictions, classes: Sequence[str]) -> float:
    """Return Cohen's kappa (Cohen, 1960: A coefficient of agreement for nominal scales), -1 to 1; NaN where it is not
    defined."""
    truth, prediction = (np.asarray(predictions.columns[name], int) for name in ("truth", "prediction"))
    if not len(truth):
        return float("nan")
    shares = [np.bincount(values, minlength=len(classes)) / len(truth) for values in (truth, prediction)]
    chance = float(shares[0] @ shares[1])
    return (float(np.mean(truth == prediction)) - chance) / (1 - chance) if chance < 1 else float("nan")
