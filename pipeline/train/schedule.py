"""The learning rate over the steps of a run."""

import math

WARM_UP = 0.1
"""Share of the steps; AdamW's first estimates of the variance are poor, and large steps on them do harm."""


def scale_rate(step: int, steps: int) -> float:
    """The share of the highest learning rate at `step` of `steps`: a rise in a line, then half a cosine down to 0."""
    warm = max(1, round(steps * WARM_UP))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))
