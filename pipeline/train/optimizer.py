"""Build the optimizer and schedule its learning rate."""

import math

import torch
from torch import Tensor, nn

from pipeline.models.model import Model
from pipeline.train.initial_encoders import read_options
from pipeline.train.params import TrainParams


def build_optimizer(model: Model, params: TrainParams) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019) or SGD with Nesterov's momentum, over all parameters of the model.

    On CUDA AdamW updates all of them in one kernel.
    """
    groups = group_parameters(model, params)
    if params.optimizer == "sgd":
        return torch.optim.SGD(groups, params.learning_rate, params.momentum, nesterov=params.momentum > 0)
    fused = all(parameter.device.type == "cuda" for parameter in model.parameters())
    return torch.optim.AdamW(groups, params.learning_rate, fused=fused)


def group_parameters(model: Model, params: TrainParams) -> list[dict[str, object]]:
    """Return the parameters that learn in groups: weight decay is for matrices, and each encoder may have a learning
    rate of its own, `lr_mult` times that of the others.

    Biases and the gains of norms have no reason to be small. Single numbers are groups by themselves: they stay whole
    where a model is sharded, and a kernel that updates many parameters takes those of one kind.
    """
    mults = {
        parameter: read_options(params, source.modality).lr_mult
        for source, encoder in zip(model.inputs, model.encoders, strict=True)
        for parameter in encoder.parameters()
    }
    groups: list[dict[str, object]] = []
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for mult in sorted({1.0, *mults.values()}):
        chosen = [parameter for parameter in learning if mults.get(parameter, 1.0) == mult]
        groups += [
            {"params": [p for p in chosen if p.ndim >= 2], "weight_decay": params.weight_decay, "lr_mult": mult},
            {"params": [p for p in chosen if p.ndim == 1], "weight_decay": 0.0, "lr_mult": mult},
            {"params": [p for p in chosen if p.ndim == 0], "weight_decay": 0.0, "lr_mult": mult},
        ]
    return groups


def scale_rate(step: int, steps: int, warm_up: float) -> float:
    """Return the share of the highest learning rate at `step` of `steps`: a linear rise over a share `warm_up` of the
    steps, then half a cosine to 0."""
    warm = max(1, round(steps * warm_up))
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def clip_gradients(model: nn.Module, most: float | None) -> None:
    """Scale the gradients down to a norm of `most` (Pascanu, Mikolov and Bengio 2013); None leaves them.

    Where the model is sharded, the norm is that of all shares; single numbers are whole, and so a kind by themselves.
    """
    if most is None:
        return
    kinds: dict[type, list[Tensor]] = {}
    for parameter in model.parameters():
        if parameter.grad is not None:
            kinds.setdefault(type(parameter.grad), []).append(parameter.grad)
    norms = [nn.utils.get_total_norm(gradients) for gradients in kinds.values()]
    norms = [norm.full_tensor() if hasattr(norm, "full_tensor") else norm for norm in norms]
    total = norms[0] if len(norms) == 1 else torch.linalg.vector_norm(torch.stack(norms))
    nn.utils.clip_grads_with_norm_(model.parameters(), most, total)
