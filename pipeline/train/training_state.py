"""Turn a trainer into a state that can be saved, and back: the same trainer, to the bit.

A state has the weights, what the optimizer keeps of each parameter, the states of PyTorch's random generators and the
buffers of the model in each process, the progress with the history, the averages of the weights, and the weights of the
best epoch. The learning rate, the order of the samples and their augmentation follow from the numbers of the step and
the epoch. States are taken between steps, so there are no gradients. All tensors are whole, also where the processes
hold shares of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pipeline.models.history import Epoch
from pipeline.train.progress import Progress
from pipeline.train.saved_states import State
from shardwright.format.dataclass_json import load_value

if TYPE_CHECKING:
    from pipeline.train.training_loop import Trainer

MODEL, OPTIMIZER, RANDOM, BUFFERS, AVERAGE = "model", "optimizer", "random", "buffers", "average"
BEST, END = "best", "end"
"""Of the names of groups that are shared between states, before the number of an epoch."""


def pack_state(trainer: "Trainer") -> State:
    """Return the state of a trainer between two steps; all processes of a team call this."""
    team, model = trainer.team, trainer.model.state_dict()
    kept = trainer.optimizer.state_dict()["state"]
    buffers = {name: value.cpu() for name, value in trainer.model.named_buffers() if name in model}
    groups = {
        MODEL: team.unshard(model),
        OPTIMIZER: team.unshard(
            {f"{number}.{name}": value for number, values in kept.items() for name, value in values.items()}
        ),
        RANDOM: _number(team.gather(read_generators(trainer.device))),
        BUFFERS: _number([{}, *team.gather(buffers)[1:]]),  # the leader's are the model's
        AVERAGE: team.unshard(trainer.average.moving),
    }
    tensors = {f"{group}.{name}": value for group, values in groups.items() for name, value in values.items()}
    progress = trainer.progress
    shared = {f"{END}-{epoch:08d}": weights for epoch, weights in trainer.average.ends.items()}
    if progress.best:
        shared[f"{BEST}-{progress.best:08d}"] = trainer.best_state
    shared = {name: team.unshard(weights) for name, weights in shared.items()}
    return State(progress.step, asdict(progress), tensors, shared)


def unpack_state(state: State, trainer: "Trainer") -> None:
    """Give a new trainer the state of the one that was packed, and the process its random numbers."""
    progress: Progress = load_value(Progress, state.document, "the saved state")
    team, own = trainer.team, trainer.model.state_dict()
    buffers = _select(state.tensors, f"{BUFFERS}.{team.rank}")
    trainer.model.load_state_dict(team.shard(_select(state.tensors, MODEL) | buffers, own))
    unpack_optimizer(_select(state.tensors, OPTIMIZER), trainer)
    trainer.progress = replace(progress, history=tuple(order_scores(each, trainer) for each in progress.history))
    trainer.average.moving = team.shard(_select(state.tensors, AVERAGE), own)
    for name, tensors in state.shared.items():
        group, _, epoch = name.rpartition("-")
        weights = team.shard(tensors, own)
        if group == BEST:
            trainer.best_state = weights
        else:
            trainer.average.ends[int(epoch)] = weights
    set_generators(_select(state.tensors, f"{RANDOM}.{team.rank}"), trainer.device)


def unpack_optimizer(tensors: Mapping[str, Tensor], trainer: "Trainer") -> None:
    """Give an optimizer what it kept, by the number of the parameter and a name. What has the parameter's shape is held
    as the parameter is."""
    groups = trainer.optimizer.state_dict()["param_groups"]
    parameters = dict(enumerate(p for group in trainer.optimizer.param_groups for p in group["params"]))
    like = {name: parameters[int(name.partition(".")[0])] for name in tensors}
    shaped = {name: value for name, value in tensors.items() if value.shape == like[name].shape}
    kept: dict[int, dict[str, Tensor]] = {}
    for name, value in (dict(tensors) | trainer.team.shard(shaped, like)).items():
        number, _, key = name.partition(".")
        kept.setdefault(int(number), {})[key] = value
    trainer.optimizer.load_state_dict({"state": kept, "param_groups": groups})


def order_scores(epoch: Epoch, trainer: "Trainer") -> Epoch:
    """Return the epoch with its scores in the order of the task's, of which the last one selects: JSON is in the order
    of names."""
    return replace(epoch, val_scores={name: epoch.val_scores[name] for name in trainer.model.task.scores})


def read_generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators that dropout draws from, uint8: the CPU's, and that of the GPU in use."""
    states = {"cpu": torch.random.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Set the generators to what `read_generators` returned."""
    torch.random.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _number(processes: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the tensors of each process, with its rank before their names."""
    return {f"{rank}.{name}": value for rank, one in enumerate(processes) for name, value in one.items()}


def _select(tensors: Mapping[str, Tensor], group: str) -> dict[str, Any]:
    """Return the tensors of a group by the names that they have in it."""
    prefix = f"{group}."
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
