"""Search for the most probable text, token by token, keeping the best few beginnings of each sample."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

ScoreNext: TypeAlias = Callable[[Tensor], Tensor]
"""Maps the beginnings of texts, int64 (batch, beam, steps), the begin token first, to the log-probability of each token
to come next, float32 (batch, beam, tokens); minus infinity for one that must not."""


@dataclass(frozen=True)
class BeamSearch:
    """What is searched, and how far.

    Attributes:
        begin: the token before each text.
        end: the token after each text.
        beam: beginnings kept of each sample; with 1 the search is greedy.
        longest: tokens of a text at most, the end token counted.
        length_penalty: exponent by which long texts are favoured; 0 compares the probabilities of whole texts.
    """

    begin: int
    end: int
    beam: int
    longest: int
    length_penalty: float

    def normalize(self, sums: Tensor, lengths: Tensor) -> Tensor:
        """Return the sums of log-probabilities by which texts are compared: over ((5 + length) / 6) ^ length_penalty
        (Wu et al. 2016: Google's neural machine translation system, equation 14)."""
        return sums / ((5 + lengths) / 6) ** self.length_penalty

    def run(self, score_next: ScoreNext, start: Tensor) -> tuple[Tensor, Tensor]:
        """Return the best text found of each sample, int64 (batch, longest), the end token to its end, and its
        score, (batch,).

        The first beginning is always the greedy one, so the text is never worse than that of a greedy search. One that
        has ended stays as it is.

        Args:
            score_next: the model.
            start: any tensor with the number of samples as its length, on the device to search on.
        """
        batch = len(start)
        texts = torch.full((batch, self.beam, 1), self.begin, device=start.device)
        lengths = torch.zeros(batch, self.beam, device=start.device)
        sums = torch.full((batch, self.beam), float("-inf"), device=start.device)
        sums[:, 0] = 0  # all beginnings are the same one
        ended = torch.zeros(batch, self.beam, dtype=torch.bool, device=start.device)
        for _ in range(self.longest):
            following = score_next(texts)
            only_end = torch.full_like(following[0, 0], float("-inf"))
            only_end[self.end] = 0
            totals = sums.unsqueeze(2) + torch.where(ended.unsqueeze(2), only_end, following)
            lengths = lengths + ~ended
            chosen = self._choose(self.normalize(totals, lengths.unsqueeze(2)))
            origin, token = chosen // following.shape[2], chosen % following.shape[2]
            texts = torch.cat([texts.gather(1, origin.unsqueeze(2).expand_as(texts)), token.unsqueeze(2)], dim=2)
            sums, lengths = totals.flatten(1).gather(1, chosen), lengths.gather(1, origin)
            ended = token == self.end
            if ended.all():
                break
        scores = self.normalize(sums, lengths)
        best = scores.argmax(1, keepdim=True)
        found = texts.gather(1, best.unsqueeze(2).expand(batch, 1, texts.shape[2]))[:, 0, 1:]
        padded = found.new_full((batch, self.longest), self.end)
        padded[:, : found.shape[1]] = found
        return padded, scores.gather(1, best)[:, 0]

    def _choose(self, scores: Tensor) -> Tensor:
        """Return which continuations to keep, (batch, beam), numbers in the flattened `scores` (batch, beam, tokens):
        first the best one of the greedy beginning, then the best of all others."""
        greedy = scores[:, 0].argmax(1, keepdim=True)
        others = scores.flatten(1).scatter(1, greedy, float("-inf")).topk(self.beam - 1).indices
        return torch.cat([greedy, others], dim=1)
