"""Average weights over the steps or over the last epochs: what is validated and published in place of the latest ones.

An average varies less from run to run than any one epoch (Izmailov et al. 2018, "Averaging Weights Leads to Wider
Optima and Better Generalization").
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Weights = dict[str, Tensor]
"""Of a model, by name, as `state_dict()` returns them."""


class WeightAverage:
    """The average of a training's weights.

    Args:
        model: at its start.
        decay: of the exponential moving average over the steps; 0 keeps none.
        epochs: at whose ends the weights are averaged; 1 takes the latest.

    Attributes:
        moving: the moving average; empty without a decay.
        ends: the weights at the ends of the last epochs, by their numbers; empty where `epochs` is 1.
    """

    def __init__(self, model: nn.Module, decay: float, epochs: int) -> None:
        self.decay = decay
        self.epochs = epochs
        self.moving: Weights = copy.deepcopy(model.state_dict()) if decay else {}
        self.ends: dict[int, Weights] = {}

    @torch.no_grad()
    def add_step(self, model: nn.Module, step: int) -> None:
        """Take in the weights after step number `step`.

        The decay rises from 2/11, as in TensorFlow's `ExponentialMovingAverage` with `num_updates`: the random weights
        of the start are soon forgotten.
        """
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                self.moving[name].lerp_(value, 1 - decay)
            else:
                self.moving[name].copy_(value)

    def add_epoch(self, model: nn.Module, epoch: int) -> None:
        """Take in the weights at the end of an epoch."""
        if self.epochs > 1:
            self.ends[epoch] = copy.deepcopy(model.state_dict())
            self.ends.pop(epoch - self.epochs, None)

    def compute(self, model: nn.Module) -> Weights:
        """Return a copy of the average; of the model's own weights where nothing is averaged."""
        if self.ends:
            return average_weights([self.ends[epoch] for epoch in sorted(self.ends)])
        return copy.deepcopy(self.moving or model.state_dict())


def average_weights(weights: Sequence[Mapping[str, Tensor]]) -> Weights:
    """Return the mean of each tensor of floats, and the last one of any other."""
    return {
        name: torch.stack([each[name] for each in weights]).mean(0) if last.is_floating_point() else last
        for name, last in weights[-1].items()
    }


@contextmanager
def use_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Give the model other weights, and its own ones back at the end, to the bit."""
    own = copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    try:
        yield
    finally:
        model.load_state_dict(own)
