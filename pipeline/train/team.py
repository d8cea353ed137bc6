"""Let several processes train one model: each takes its share of every batch, and gradients are summed.

torchrun starts them, see `launch`. The first one, the leader, is the stage; the others follow it, and write nothing.
Gradients are summed as one tensor, so every process takes the same step and has the same weights, to the bit.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import distributed, nn

from pipeline.errors import InputError

Value = TypeVar("Value")


@dataclass(frozen=True)
class Team:
    """The processes that train together, and the number of this one. Each of them calls each method at the same time.

    Of a team of one all methods return what they are given.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process is the one that saves, shows and publishes."""
        return self.rank == 0

    def separate_generators(self, seed: int) -> None:
        """Give each process but the first random numbers of its own, for dropout."""
        if self.rank:
            torch.manual_seed(seed + (self.rank << 32))

    def add(self, *values: float) -> list[float]:
        """Return the sums of numbers over the processes."""
        if self.size == 1:
            return list(values)
        device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
        summed = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(summed)
        sums: list[float] = summed.tolist()
        return sums

    def add_gradients(self, model: nn.Module) -> None:
        """Replace the gradients by their sums over the processes; one that a process has none of counts as zeros."""
        if self.size == 1:
            return
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        summed = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(summed)
        parts = torch.split(summed, [parameter.numel() for parameter in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes the leader's buffers: the running statistics of batch norms, each of its own samples."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def share(self, value: Value) -> Value:
        """Return the leader's value."""
        if self.size == 1:
            return value
        values: list[Any] = [value]
        distributed.broadcast_object_list(values)
        shared: Value = values[0]
        return shared

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        distributed.all_gather_object(values, value)
        return values


ALONE = Team()
"""A team of one."""


@contextmanager
def join_team(size: int, device: str) -> Iterator[Team]:
    """Yield the team of the processes that torchrun started with this one: NCCL between GPUs, one each, else Gloo.

    Raises:
        InputError: torchrun started another number of processes than `size`.
    """
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != size:
        raise InputError(
            f"train.processes is {size}, but torchrun started {started} processes: leave that to the stage"
        )
    if size == 1:
        yield ALONE
        return
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield Team(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()
