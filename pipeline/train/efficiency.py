"""Say how much of what a device can compute a training used: model FLOPs utilization (Chowdhery et al. 2022, PaLM,
section 4.1), of counted operations, against the rate of a product of matrices that is measured here."""

import copy
import time
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from pipeline.models.batches import ReadOrder, read_batches
from pipeline.models.determinism import deterministic_mode
from shardwright import ShardDataset

if TYPE_CHECKING:
    from pipeline.train.training_loop import Trainer

MIN_SECONDS = 10.0
"""Of training, below which the start is most of the time, and nothing is measured."""

SIDES = {"cuda": 8192, "cpu": 1024}
"""Of the square matrices: 2 · side³ operations, some milliseconds."""

REPEATS = 5
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"))


def describe_efficiency(trainer: "Trainer", data: ShardDataset, rate: float) -> str:
    """Return one line for a training that took `rate` samples a second: the operations of a sample, forward and
    backward, those a second, and their share of the rate of a product of matrices of the training's precision.

    It takes one step of a copy of the model, and leaves the model and all random generators as they are.
    """
    params = trainer.params
    dtype = torch.bfloat16 if params.precision == "bfloat16" else torch.float32
    with deterministic_mode(params.seed, params.threads):
        operations = count_operations(trainer, data)
        peak = measure_peak(trainer.device, dtype) * trainer.team.size
    used = operations * rate
    line = (
        f"{show(operations)}FLOP a sample, forward and backward; {show(used)}FLOP/s, {100 * used / peak:.1f} % of the "
        f"{show(peak)}FLOP/s of a product of {params.precision} matrices here"
    )
    uncounted = trainer.device.type != "cpu" and any(isinstance(each, nn.RNNBase) for each in trainer.model.modules())
    return line + (" (recurrent layers not counted)" if uncounted else "")


def count_operations(trainer: "Trainer", data: ShardDataset) -> float:
    """Return the operations of a sample in training: products of matrices, convolutions, attention; of the first batch
    in stored order."""
    batch = next(iter(read_batches(trainer.params.reader, data, ReadOrder(trainer.params.batch_size))))
    trial = copy.copy(trainer)
    trial.model = trial.forward = copy.deepcopy(trainer.model).train()
    with FlopCounterMode(display=False) as counter:
        torch.autograd.backward(trial.compute_loss(*trial.prepare(batch)))
    total: int = counter.get_total_flops()
    return total / len(batch["key"])


def measure_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Return the operations a second of the fastest of some products of matrices."""
    side = SIDES.get(device.type, SIDES["cpu"])
    matrix = torch.rand(side, side, device=device, dtype=dtype)
    fastest = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        matrix @ matrix
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        fastest = min(fastest, time.perf_counter() - start)
    return 2 * side**3 / fastest


def show(operations: float) -> str:
    """Return a number of operations with its unit: `1.2 G`."""
    unit, name = next((pair for pair in UNITS if operations >= pair[0]), UNITS[-1])
    return f"{operations / unit:.3g} {name}"
