"""Read steps one after the other: recurrent networks that no padding reaches, in either direction."""

import torch
from torch import Tensor, nn

from pipeline.models.encoders.options import RecurrentSizes

CELLS: dict[str, type[nn.GRU | nn.LSTM]] = {"gru": nn.GRU, "lstm": nn.LSTM}


def add_recurrent(encoder: nn.Module, cell: str, inputs: int, options: RecurrentSizes) -> int:
    """Give an encoder a recurrent network named `cell`, and return how many channels its states have.

    Another one, `<cell>_back`, reads backwards where the options say so; the two do not see each other's layers.
    """
    dropout = options.dropout if options.layers > 1 else 0.0
    names = [cell, f"{cell}_back"] if options.bidirectional else [cell]
    for name in names:
        network = CELLS[cell](inputs, options.hidden, options.layers, batch_first=True, dropout=dropout)
        encoder.add_module(name, network)
    return options.hidden * len(names)


def run_recurrent(encoder: nn.Module, cell: str, values: Tensor, valid: Tensor) -> Tensor:
    """Return the states (batch, steps, channels) over `values` (batch, steps, inputs), whose padding is zeros.

    The states of valid steps do not depend on the padding after them: backwards is from the last valid step.
    """
    states: Tensor = encoder.get_submodule(cell)(values)[0]
    if not hasattr(encoder, f"{cell}_back"):
        return states
    count, step = valid.sum(1, keepdim=True), torch.arange(valid.shape[1], device=valid.device)
    order = torch.where(step < count, count - 1 - step, step).unsqueeze(2)  # of valid steps the last first
    back = encoder.get_submodule(f"{cell}_back")(values.gather(1, order.expand(values.shape)))[0]
    return torch.cat([states, back.gather(1, order.expand(back.shape))], dim=2)
