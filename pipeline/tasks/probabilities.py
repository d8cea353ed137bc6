"""Hold the probabilities that a task predicts, for calibration and for curves over all thresholds."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Probabilities:
    """Predicted probabilities and what is true.

    Attributes:
        confidence: of each prediction that is right or wrong, (predictions,): one a sample, or one a sample and tag.
        right: whether it is, (predictions,).
        names: of the classes or tags.
        truth: number of the class of each sample, int (n,), or whether it has each tag, (n, tags).
        scores: the probability of each class or tag, (n, classes); None where they are too many to be kept.
    """

    confidence: NDArray[np.floating]
    right: Flags
    names: Sequence[str]
    truth: NDArray[np.integer]
    scores: NDArray[np.floating] | None

    def select(self, number: int) -> tuple[Flags, NDArray[np.floating]]:
        """Return whether each sample is of a class, and its probability, both (n,)."""
        assert self.scores is not None
        of_class = self.truth == number if self.truth.ndim == 1 else self.truth[:, number] > 0
        return np.asarray(of_class), np.asarray(self.scores[:, number])
