"""A beam of one is greedy, a wider one is never worse, and one that keeps everything finds the best of all texts."""

import itertools

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import Tensor

from pipeline.tasks.generation.beam_search import BeamSearch

pytestmark = pytest.mark.usefixtures("one_thread")

BEGIN, END, TOKENS = 3, 4, 5
"""Three words, and the two tokens of the decoder's own."""


class TableModel:
    """Log-probabilities of a token after all tokens before it, drawn once for each beginning and sample."""

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def score_text(self, sample: int, text: tuple[int, ...]) -> Tensor:
        rng = torch.Generator().manual_seed(hash((self.seed, sample, text)) % 2**40)
        logits = 2 * torch.randn(TOKENS, generator=rng)
        logits[BEGIN] = float("-inf")
        return logits.log_softmax(0)

    def __call__(self, texts: Tensor) -> Tensor:
        return torch.stack(
            [torch.stack([self.score_text(n, tuple(t)) for t in own]) for n, own in enumerate(texts.tolist())]
        )


def make_search(beam: int, longest: int, length_penalty: float) -> BeamSearch:
    return BeamSearch(BEGIN, END, beam, longest, length_penalty)


def score_whole(model: TableModel, sample: int, text: tuple[int, ...], search: BeamSearch) -> float:
    """The score of a text, with its end token, by the definition."""
    steps = [model.score_text(sample, (BEGIN, *text[:at]))[token] for at, token in enumerate(text)]
    return float(search.normalize(torch.stack(steps).sum(), torch.tensor(len(text))))


def list_texts(longest: int) -> list[tuple[int, ...]]:
    """All texts: those that end, and those that are as long as they may be."""
    words = range(BEGIN)
    ended = [(*text, END) for length in range(longest) for text in itertools.product(words, repeat=length)]
    return [*ended, *itertools.product(words, repeat=longest)]


SEEDS = st.integers(0, 10_000)
LONGEST = st.integers(1, 4)
PENALTIES = st.sampled_from([0.0, 0.6, 1.0, 2.0])


@given(SEEDS, LONGEST, PENALTIES)
@settings(max_examples=40, deadline=None)
def test_a_beam_of_one_is_greedy(seed: int, longest: int, penalty: float) -> None:
    model = TableModel(seed)
    found, _ = make_search(1, longest, penalty).run(model, torch.empty(3))
    for sample in range(3):
        text: list[int] = []
        while len(text) < longest and END not in text:
            text.append(int(model.score_text(sample, (BEGIN, *text)).argmax()))
        assert found[sample].tolist() == text + [END] * (longest - len(text))


@given(SEEDS, LONGEST, PENALTIES, st.integers(2, 6))
@settings(max_examples=40, deadline=None)
def test_a_wider_beam_is_never_worse_than_greedy(seed: int, longest: int, penalty: float, beam: int) -> None:
    model = TableModel(seed)
    greedy, wide = (make_search(size, longest, penalty).run(model, torch.empty(4))[1] for size in (1, beam))
    assert (wide >= greedy).all()


@given(SEEDS, st.integers(1, 3), PENALTIES)
@settings(max_examples=25, deadline=None)
def test_a_beam_that_keeps_everything_finds_what_trying_all_texts_does(seed: int, longest: int, penalty: float) -> None:
    model = TableModel(seed)
    search = make_search(len(list_texts(longest)), longest, penalty)
    found, scores = search.run(model, torch.empty(2))
    for sample in range(2):
        by_hand = {text: score_whole(model, sample, text, search) for text in list_texts(longest)}
        assert float(scores[sample]) == pytest.approx(max(by_hand.values()), abs=1e-5)
        best = max(by_hand, key=lambda text: by_hand[text])
        assert found[sample].tolist() == [*best, *[END] * (longest - len(best))]


def test_a_sample_is_searched_alike_alone_and_in_a_batch() -> None:
    search, model = make_search(3, 4, 0.6), TableModel(5)
    together, _ = search.run(model, torch.empty(4))
    alone, _ = search.run(model, torch.empty(1))
    assert torch.equal(together[:1], alone)
