"""Predict words of a text that are masked, from the words around them (Devlin et al. 2019, BERT, task #1): to learn an
encoder of text without labels, whose weights other trainings start from by `init_from`.

Which words are masked is a function of the text and of nothing else, so that training, validation and evaluation
agree. In training augmentation changes some words of a text in each epoch, and with them what is masked.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from pipeline.errors import InputError
from pipeline.models.encoders.layers import find_valid
from pipeline.models.inputs import PartInput, list_tokens, read_token_document
from pipeline.tasks.masked_words_report import (
    SCORE_TITLES,
    build_report,
    compute_scores,
    describe_metrics,
    measure,
    tabulate,
)
from pipeline.tasks.options import MaskedWordsOptions
from pipeline.tasks.read_targets import read_targets
from pipeline.tasks.task import ForwardPass, Plan, Task

if TYPE_CHECKING:
    from pipeline.models.batches import Batch
    from pipeline.models.model import Features, Model
    from shardwright import ShardDataset

MASKS = ("[MASK]", "<mask>")
"""Tokens that tokenizers have for this; without one the unknown word takes their place."""

UNMASKED = -100
"""In the place of a target that is not masked."""

BITS = 24
"""Of a hash that decide whether a word is masked."""

STEP, SPREAD = 0x9E3779B97F4A7C1, 0x2545F4914F6CDD1D
"""Odd factors of the hash: the golden ratio's digits, and that of xorshift* (Vigna 2016)."""


@dataclass(frozen=True)
class MaskedWordsPlan(Plan):
    """The plan of masked words.

    Attributes:
        source: the text.
        share: of its words that are masked.
        mask: the token in their place.
        silent: tokens that are never masked, sorted: padding, marks, the unknown word.
        mean_words: words of a sample that may be masked, over the training split.
        frequent: the most frequent of them in the training split.
        chance: the geometric mean of the probabilities that their frequencies there give them.
    """

    source: PartInput
    share: float
    mask: int
    silent: tuple[int, ...]
    mean_words: float
    frequent: int
    chance: float


def make_plan(options: MaskedWordsOptions, data: "ShardDataset", inputs: Sequence[PartInput]) -> MaskedWordsPlan:
    """Find the text, and count its words in the training split.

    Raises:
        InputError: there is no such text, it has several items or fields, or none of its words may be masked.
    """
    texts = {source.part: source for source in inputs if source.modality == "text" and source.words}
    name = next(iter(texts), None) if options.part is None else options.part
    if name not in texts or (options.part is None and len(texts) > 1):
        raise InputError(f"train.task.part is {options.part}; it must name one of the text parts: {', '.join(texts)}")
    source = texts[name]
    if source.joined or source.count is not None:
        raise InputError(f"train.task masks words of {name}, which must have one item a sample and one field")
    tokens = list_tokens(read_token_document(data.root, data.manifest) or {"words": []})
    silent = tuple(sorted({0, source.unknown, *source.marks}))
    ids = read_targets(data, source.field).astype(np.int64)
    lengths = np.full(len(ids), ids.shape[1]) if source.length is None else read_targets(data, source.length)
    valid = (np.arange(ids.shape[1]) < lengths[:, None]) & ~np.isin(ids, silent)
    counts = np.bincount(ids[valid], minlength=source.words)
    if not counts.any():
        raise InputError(f"{data.root}: the part {name} has no known word in the split `train`: look at extract.text")
    shares = counts[counts > 0] / counts.sum()
    return MaskedWordsPlan(
        parts=(name,),
        source=source,
        share=options.share,
        mask=next((tokens.index(mask) for mask in MASKS if mask in tokens), source.unknown),
        silent=silent,
        mean_words=float(counts.sum() / len(ids)),
        frequent=int(counts.argmax()),
        chance=float(np.exp((shares * np.log(shares)).sum())),
    )


def find_masked(plan: MaskedWordsPlan, batch: "Batch") -> Tensor:
    """Return the masked words, int64 (batch, tokens), `UNMASKED` elsewhere."""
    ids: Tensor = batch[plan.source.field].int().long()
    valid = find_valid(ids, None if plan.source.length is None else batch[plan.source.length])
    learned = valid & ~torch.isin(ids, torch.tensor(plan.silent, device=ids.device))
    steps = torch.arange(1, ids.shape[1] + 1, device=ids.device)
    text = (ids.masked_fill(~valid, 0) * SPREAD * steps).sum(1, keepdim=True)  # overflow wraps
    mixed = (text ^ (text >> 29)) * SPREAD + steps * STEP
    mixed = ((mixed ^ (mixed >> 32)) * SPREAD >> 20) & (2**BITS - 1)
    return ids.masked_fill(~(learned & (mixed < plan.share * 2**BITS)), UNMASKED)


class MaskedWordsHead(nn.Module):
    """A linear layer of what the encoder gives of each token, to the logits of all words."""

    def __init__(self, plan: MaskedWordsPlan, model: "Model") -> None:
        super().__init__()
        self.plan = plan
        self.dropout = nn.Dropout(model.dropout)
        self.words = nn.Linear(model.channels[0], plan.source.words)

    def hide(self, batch: "Batch") -> "Batch":
        """Return the batch as the encoder sees it, with masks in the places of words."""
        ids = batch[self.plan.source.field].int()
        masked = find_masked(self.plan, batch) != UNMASKED
        return {**batch, self.plan.source.field: ids.masked_fill(masked, self.plan.mask)}

    def forward(self, features: "Features", batch: "Batch") -> Tensor:
        """Return the logits (batch, tokens, words) of each token of the text."""
        tokens = features.encoded[0].tokens
        if tokens.shape[1] != batch[self.plan.source.field].shape[1]:
            raise InputError(
                "train.encoders.text gives no vector for each token: take gru, transformer or transformers"
            )
        logits: Tensor = self.words(self.dropout(tokens))
        return logits.float()


def compute_loss(forward: ForwardPass, training: bool) -> Tensor:
    """Return the cross-entropy of the masked words, a scalar, in units of the mean sample's masked words: each word
    counts alike, whatever batch or process it is in."""
    plan: MaskedWordsPlan = forward.plan
    targets = find_masked(plan, forward.batch)
    logits = forward.outputs.flatten(0, 1)
    loss = functional.cross_entropy(logits, targets.flatten(), ignore_index=UNMASKED, reduction="sum")
    loss = loss / (plan.share * plan.mean_words)
    return loss / len(targets) if training else loss


def compute_columns(forward: ForwardPass) -> dict[str, NDArray[Any]]:
    """Return of each sample how many words are masked, how many of them are the most probable ones, and are the most
    frequent word; and the sum of the logarithms of their probabilities."""
    plan: MaskedWordsPlan = forward.plan
    targets = find_masked(plan, forward.batch)
    masked = targets != UNMASKED
    logs = -functional.cross_entropy(
        forward.outputs.transpose(1, 2), targets, ignore_index=UNMASKED, reduction="none"
    ).double()
    columns = {
        "masked": masked.sum(1),
        "hits": (masked & (forward.outputs.argmax(2) == targets)).sum(1),
        "frequent": (targets == plan.frequent).sum(1),
        "log_probability": logs.sum(1),
    }
    return {name: values.cpu().numpy().astype(list_columns(plan)[name]) for name, values in columns.items()}


def list_columns(plan: MaskedWordsPlan) -> dict[str, np.dtype[Any]]:
    """Return the columns of `compute_columns`."""
    return {
        **dict.fromkeys(("masked", "hits", "frequent"), np.dtype(np.int64)),
        "log_probability": np.dtype(np.float64),
    }


class WordMeter:
    """Adds up what scores need."""

    def __init__(self, plan: MaskedWordsPlan) -> None:
        self.sums: dict[str, float] = dict.fromkeys(list_columns(plan), 0.0)

    def add(self, forward: ForwardPass) -> None:
        """Add the words of a batch."""
        for name, values in compute_columns(forward).items():
            self.sums[name] += float(values.sum())

    def compute(self) -> Mapping[str, float]:
        """Return `SCORE_TITLES` by name; NaN without masked words."""
        return compute_scores(self.sums)


def describe_plan(plan: MaskedWordsPlan) -> list[str]:
    """Return what is masked."""
    return [f"masks {plan.share:.0%} of the words of {plan.source.part}, {plan.mean_words:.1f} a sample"]


MASKED_WORDS = Task(
    options=MaskedWordsOptions,
    plan_type=MaskedWordsPlan,
    scores=SCORE_TITLES,
    make_plan=make_plan,
    describe_plan=describe_plan,
    describe_model=lambda plan: f"an encoder of {plan.source.part}, learned from masked words",
    build_head=MaskedWordsHead,
    compute_loss=compute_loss,
    make_meter=WordMeter,
    list_columns=list_columns,
    compute_columns=compute_columns,
    measure=measure,
    describe_metrics=describe_metrics,
    build_report=build_report,
    tabulate=tabulate,
    fuses=False,
)
