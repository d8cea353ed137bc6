"""Read the true texts of a batch."""

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.models.encoders.layers import find_valid
from pipeline.tasks.generation.plan import GenerationPlan


def read_texts(plan: GenerationPlan, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the tokens of all texts of each sample, int64 (batch, texts, steps), with the end token to the end, and
    which of them count, bool: those of a text and one end token. One that fills all steps may have been cut, and has no
    end token. Marks that the dataset's tokenizer sets, as at the start of a text, are left out.
    """
    target = plan.target
    stored = batch[target.field].int()  # PyTorch has few functions of uint16
    shape = stored.shape[:-1]
    length = torch.full(shape, plan.steps, device=stored.device) if target.length is None else batch[target.length]
    if target.count is None:
        stored, length = stored.unsqueeze(1), length.unsqueeze(1)
    steps = torch.arange(plan.steps, device=stored.device)
    if target.marks:
        marked = torch.isin(stored, torch.tensor(target.marks, dtype=torch.int32, device=stored.device))
        stored = stored.gather(2, marked.int().argsort(dim=2, stable=True))  # to the end
        length = length - (marked & (steps < length.unsqueeze(2))).sum(2)
    there = _find_there(plan, batch, stored) & (length > 0)
    length = length.masked_fill(~there, -1).unsqueeze(2)
    return stored.long().masked_fill(steps >= length, plan.end), steps <= length


def _find_there(plan: GenerationPlan, batch: Mapping[str, Tensor], tokens: Tensor) -> Tensor:
    """Return which texts of `tokens` (batch, texts, steps) there are, (batch, texts) bool."""
    if plan.target.count is not None:
        return find_valid(tokens, batch[plan.target.count])
    there = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device)
    return there if plan.target.present is None else there & (batch[plan.target.present] != 0).unsqueeze(1)
