"""Name the field with labels, and keep the label of each sample where a dataset has some."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pipeline.tasks.task import ForwardPass

LABEL = "label"
"""The field with the number of each sample's class, and the column that keeps it."""


def list_label_column(classes: Sequence[str]) -> dict[str, np.dtype[Any]]:
    """Return the column, in as few bytes as the numbers of the classes take; none without classes."""
    return {LABEL: np.min_scalar_type(len(classes) - 1)} if classes else {}


def compute_label_column(forward: "ForwardPass") -> dict[str, NDArray[Any]]:
    """Return the labels of a batch, (batch,), where the plan has classes."""
    return {LABEL: forward.batch[LABEL].cpu().numpy()} if forward.plan.classes else {}
