"""Find in the training split what a generation is compared with: the text that is most like all others, or like those
of its class."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.models.inputs import PartInput
from pipeline.tasks.labels import LABEL
from pipeline.tasks.metrics.texts import compute_bleu, count_token_matches
from pipeline.tasks.read_targets import read_targets
from shardwright import ShardDataset

MOST_TEXTS = 64
"""Texts that are compared with each other, evenly spaced: 4,096 pairs at some 20 µs."""

Text = tuple[int, ...]
"""The tokens of a text."""


def count_tokens(data: ShardDataset, target: PartInput) -> NDArray[np.int64]:
    """Return the tokens of each text of each sample, int64 (samples, texts); 0 where there is none."""
    samples, steps = len(data), target.shape[0]
    if target.length is None:
        lengths = np.full((samples, *data.fields[target.field].shape[:-1]), steps)
    else:
        lengths = read_targets(data, target.length).astype(np.int64)
    lengths = lengths.reshape(samples, -1)
    if target.count is not None:
        lengths[np.arange(lengths.shape[1]) >= read_targets(data, target.count)[:, None]] = 0
    elif target.present is not None:
        lengths[read_targets(data, target.present) == 0] = 0
    return lengths


def measure_texts(data: ShardDataset, target: PartInput) -> float:
    """Return the mean number of tokens that a sample has in all its texts, with an end token each."""
    lengths = count_tokens(data, target)
    return float(np.minimum(lengths + 1, target.shape[0])[lengths > 0].sum() / len(data))


def choose_texts(data: ShardDataset, target: PartInput, silent: Sequence[int]) -> tuple[Text, tuple[Text, ...]]:
    """Return the first text of a sample, without its `silent` tokens, that is most like those of all others; and the
    same of the samples of each class, where the dataset has labels. A class without texts has that of all."""

    def choose(rows: NDArray[np.int64]) -> Text:
        return choose_text(read_first(data, target, lengths, rows), silent)

    lengths = count_tokens(data, target)[:, 0]
    there = np.flatnonzero(lengths)
    constant = choose(there)
    if not data.classes or LABEL not in data.fields:
        return constant, ()
    labels = read_targets(data, LABEL)
    members = (there[labels[there] == number] for number in range(len(data.classes)))
    return constant, tuple(choose(rows) if len(rows) else constant for rows in members)


def read_first(
    data: ShardDataset, target: PartInput, lengths: NDArray[np.int64], rows: NDArray[np.int64]
) -> list[Text]:
    """Return the first texts of `MOST_TEXTS` of the samples `rows` at most."""
    if len(rows) > MOST_TEXTS:
        rows = rows[np.linspace(0, len(rows) - 1, MOST_TEXTS).astype(np.int64)]
    stored = read_targets(data, target.field, rows)
    stored = stored if target.count is None else stored[:, 0]
    texts = (tokens[:length].tolist() for tokens, length in zip(stored, lengths[rows], strict=True))
    return [tuple(token for token in text if token not in target.marks) for text in texts]


def choose_text(texts: Sequence[Text], silent: Sequence[int]) -> Text:
    """Return the text with the highest BLEU, in its tokens without the `silent` ones, where it stands for each of the
    texts; the first of equal ones."""
    spoken = (tuple(token for token in text if token not in silent) for text in texts)
    return max(dict.fromkeys(spoken), key=lambda text: _compare_text(text, texts))


def _compare_text(text: Text, others: Sequence[Text]) -> float:
    return compute_bleu(np.sum([count_token_matches(text, other) for other in others], axis=0))
