"""Let several processes train one model: each takes its share of every batch, and gradients are summed.

torchrun starts them, see `launch`. The first one, the leader, is the stage; the others follow it, and write nothing.
Gradients are summed as one tensor, so every process takes the same step and has the same weights, to the bit. Each
holds the whole model; `sharding` has a team of which each process holds a share of it.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from pipeline.errors import InputError
from pipeline.train.params import TrainParams

Module = TypeVar("Module", bound=nn.Module)
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

    def place(self, model: Module, device: torch.device) -> Module:
        """Return a model on the device where it trains."""
        return model.to(device)

    def add_gradients(self, model: nn.Module) -> None:
        """Replace the gradients by their sums over the processes, see `sum_gradients`."""
        if self.size > 1:
            sum_gradients([parameter for parameter in model.parameters() if parameter.requires_grad])

    def unshard(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weights of a model, or what an optimizer keeps of it, as whole tensors; in the leader alone, if
        that takes copies."""
        return dict(tensors)

    def shard(self, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return of whole tensors what this process holds, as it does of the tensors of the same names in `like`, and
        where these are."""
        return {name: value.to(like[name].device) for name, value in tensors.items()}

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes the leader's buffers: the running statistics of batch norms, each of its own samples."""
        if self.size > 1:
            for buffer in model.buffers():
                distributed.broadcast(buffer, 0)

    def broadcast(self, value: Value) -> Value:
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


def sum_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Replace the gradients of parameters by their sums over the processes, in one collective operation.

    Where only some processes have a gradient, the others count as zeros; one that no process has stays None, as for
    AdamW it is not the same as zeros.
    """
    if not parameters:
        return
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    there = gradients[0].new_tensor([parameter.grad is not None for parameter in parameters])
    summed = torch.cat([there, *(gradient.flatten() for gradient in gradients)])
    distributed.all_reduce(summed)
    there, *parts = torch.split(summed, [len(parameters), *(parameter.numel() for parameter in parameters)])
    for parameter, part, processes in zip(parameters, parts, there.tolist(), strict=True):
        parameter.grad = part.view_as(parameter) if processes else None


@contextmanager
def join_team(params: TrainParams) -> Iterator[Team]:
    """Yield the team of the processes that torchrun started with this one: NCCL between GPUs, one each, else Gloo.

    Raises:
        InputError: torchrun started another number of processes than `train.processes`.
    """
    size = params.processes
    started = int(os.environ.get("WORLD_SIZE", "1"))
    if started != size:
        raise InputError(
            f"train.processes is {size}, but torchrun started {started} processes: leave that to the stage"
        )
    if size == 1:
        yield ALONE
        return
    on_gpu = params.device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("nccl" if on_gpu else "gloo")
    try:
        yield choose_type(params.sharding)(distributed.get_rank(), size)
    finally:
        distributed.destroy_process_group()


def choose_type(sharding: str) -> type[Team]:
    """Return the type of a team by `train.sharding`."""
    if sharding == "none":
        return Team
    from pipeline.train.sharding import ShardedTeam  # imports seconds of PyTorch's

    return ShardedTeam
