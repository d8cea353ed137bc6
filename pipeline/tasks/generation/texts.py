"""Score texts against the true ones of their samples, by their tokens and by their words."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from pipeline.tasks.metrics.texts import Counts, compute_bleu, compute_chrf, count_matches

NO_TOKEN = -1
"""After the end of a text."""

UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""In the place of a word that the vocabulary lacks: one word to BLEU, where `<unk>` would be three."""

Tokens = NDArray[np.int32]
"""Of texts, (samples, steps), `NO_TOKEN` after their ends; of the true ones (samples, texts, steps)."""

Decode = Callable[[Sequence[int]], str]


@dataclass(frozen=True)
class TextDecoder:
    """Makes texts of tokens.

    Attributes:
        decode: does so with tokens that have a text.
        silent: tokens that have none: each becomes `UNKNOWN`.
    """

    decode: Decode
    silent: tuple[int, ...]

    def decode_text(self, tokens: NDArray[np.int32]) -> str:
        """Return the text of tokens (steps,)."""
        runs = groupby(tokens[tokens != NO_TOKEN].tolist(), self.silent.__contains__)
        return " ".join(" ".join(UNKNOWN for _ in run) if unknown else self.decode(list(run)) for unknown, run in runs)

    def decode_truth(self, tokens: NDArray[np.int32]) -> list[str]:
        """Return the true texts of a sample, (texts, steps), those that are there."""
        return [self.decode_text(text) for text in tokens if text[0] != NO_TOKEN]


@dataclass(frozen=True)
class ScoredTexts:
    """One text for each of the samples that have a true one.

    Attributes:
        tokens: of the texts.
        truth: tokens of the true ones.
        decoder: makes texts of both; its silent tokens are never right.
    """

    tokens: Tokens
    truth: Tokens
    decoder: TextDecoder

    @cached_property
    def texts(self) -> list[str]:
        """The texts."""
        return [self.decoder.decode_text(tokens) for tokens in self.tokens]

    @cached_property
    def truths(self) -> list[list[str]]:
        """The true texts of each sample."""
        return [self.decoder.decode_truth(tokens) for tokens in self.truth]

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
        return equal & ~np.isin(self.truth, self.decoder.silent)

    @property
    def _there(self) -> NDArray[np.bool_]:
        there: NDArray[np.bool_] = self.truth[:, :, 0] != NO_TOKEN
        return there

    def _count_tokens(self) -> float:
        """Return the share of the tokens of the true texts, with one for the end, that the text has at their place."""
        lengths = (self.truth != NO_TOKEN).sum(2, keepdims=True)
        counted = (np.arange(self.truth.shape[2]) <= lengths) & self._there[:, :, None]
        return float((self._equal & counted).sum() / counted.sum())
