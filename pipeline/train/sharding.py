"""Shard a model over the processes that train it, by PyTorch's FSDP2 (Zhao et al. 2023, "PyTorch FSDP: Experiences on
Scaling Fully Sharded Data Parallel"; Rajbhandari et al. 2020, "ZeRO", stage 3).

Each process holds its share of every parameter, of its gradient, and of what the optimizer and the averages keep of it:
a `DTensor`, cut along the first axis. A block of the model is put together before it computes, forward and backward,
and its gradients are summed as they come. Single numbers cannot be cut: they stay whole, as do buffers.
"""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from pipeline.train.team import Module, Team, sum_gradients


@dataclass(frozen=True)
class ShardedTeam(Team):
    """Processes of which each holds a share of the model.

    They put blocks together in step, so each has to go through all of the model with every batch.
    """

    def place(self, model: Module, device: torch.device) -> Module:
        """Shard a model, which is the same in all processes, on the device where it trains.

        Blocks are moved one by one, so the model as a whole need not fit there.
        """
        # That encoders return views: FSDP warns of operations in place on them, of which a model has none.
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view", UserWarning)
        mesh = init_device_mesh(device.type, (self.size,))
        whole = {parameter for parameter in model.parameters() if parameter.ndim == 0}
        for block in list_blocks(model):
            sharded = fully_shard(block, mesh=mesh, ignored_params=whole)
            sharded.set_gradient_divide_factor(1.0)  # gradients are sums, not means
            sharded.set_force_sum_reduction_for_comms(True)  # Gloo has no other
        return model.to(device)

    def add_gradients(self, model: nn.Module) -> None:
        """Sum the gradients of what is not sharded; FSDP has summed those of the rest."""
        sum_gradients(
            [parameter for parameter in model.parameters() if parameter.requires_grad and parameter.ndim == 0]
        )

    def unshard(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return whole tensors on the CPU in the leader, and nothing in the other processes: one at a time is whole
        there."""
        collected = {}
        for name, value in tensors.items():
            whole = value.full_tensor() if isinstance(value, DTensor) else value
            if self.leads:
                collected[name] = whole.cpu()
        return collected

    def shard(self, tensors: Mapping[str, Tensor], like: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return this process's shares of whole tensors, cut as those of the same names in `like` are."""
        return {name: shard_tensor(value, like[name]) for name, value in tensors.items()}


def list_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the modules that are put together one at a time, inner ones first, the model last: members of lists of
    modules that have modules of their own, as encoders, and the layers of a transformer."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    members = {member for each in lists for member in each if any(True for _ in member.children())}
    blocks = [module for module in reversed(list(model.modules())) if module in members or module is model]
    return [block for block in blocks if any(parameter.ndim for parameter in block.parameters())]


def shard_tensor(value: Tensor, like: Tensor) -> Tensor:
    """Return this process's share of a tensor that all processes have, on the device of `like`; no process is asked."""
    if not isinstance(like, DTensor):
        return value.to(like.device)
    return distribute_tensor(value.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
