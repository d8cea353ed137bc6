"""Score texts against the true ones of their samples, by their tokens and by their words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.metrics.texts import Counts, compute_bleu, compute_chrf, count_matches

NO_TOKEN = -1
"""After the end of a text."""

Tokens = NDArray[np.int32]
"""Of texts, (samples, steps), `NO_TOKEN` after their ends; of the true ones (samples, texts, steps)."""

Decode = Callable[[Sequence[int]], str]


def decode_text(tokens: NDArray[np.int32], decode: Decode) -> str:
    """Return the text of tokens (steps,)."""
    return decode(tokens[tokens != NO_TOKEN].tolist())


def decode_truth(tokens: NDArray[np.int32], decode: Decode) -> list[str]:
    """Return the true texts of a sample, (texts, steps), those that are there."""
    return [decode_text(text, decode) for text in tokens if text[0] != NO_TOKEN]


@dataclass(frozen=True)
class ScoredTexts:
    """One text for each of the samples that have a true one.

    Attributes:
        tokens: of the texts.
        truth: tokens of the true ones.
        decode: makes texts of tokens.
        silent: tokens that stand for no text, which are never right.
    """

    tokens: Tokens
    truth: Tokens
    decode: Decode
    silent: tuple[int, ...]

    @cached_property
    def texts(self) -> list[str]:
        """The texts."""
        return [decode_text(tokens, self.decode) for tokens in self.tokens]

    @cached_property
    def truths(self) -> list[list[str]]:
        """The true texts of each sample."""
        return [decode_truth(tokens, self.decode) for tokens in self.truth]

    @cached_property
    def counts(self) -> Counts:
        """What BLEU is computed from, (samples, 10)."""
        return count_matches(self.texts, self.truths)

    def compute_scores(self) -> dict[str, float]:
        """Return BLEU and chrF, 0 to 100, and the shares of texts and of tokens that are right, of one sample at
        least."""
        return {
            "bleu": compute_bleu(self.counts.sum(0)),
            "chrf": compute_chrf(self.texts, self.truths),
            "exact_match": float((self._equal.all(2) & self._there).any(1).mean()),
            "token_accuracy": self._count_tokens(),
        }

    @property
    def _equal(self) -> NDArray[np.bool_]:
        """Which tokens are those of a true text, (samples, texts, steps); the last ones of both are equal."""
        equal: NDArray[np.bool_] = self.tokens[:, None] == self.truth
        return equal & ~np.isin(self.truth, self.silent)

    @property
    def _there(self) -> NDArray[np.bool_]:
        there: NDArray[np.bool_] = self.truth[:, :, 0] != NO_TOKEN
        return there

    def _count_tokens(self) -> float:
        """Return the share of the tokens of the true texts, with one for the end, that the text has at their place."""
        lengths = (self.truth != NO_TOKEN).sum(2, keepdims=True)
        counted = (np.arange(self.truth.shape[2]) <= lengths) & self._there[:, :, None]
        return float((self._equal & counted).sum() / counted.sum())
