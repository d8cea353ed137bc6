"""BLEU and chrF are sacrebleu's; floors are the texts that they say they are."""

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from pipeline.errors import InputError
from pipeline.tasks.generation.floors import choose_text
from pipeline.tasks.generation.texts import NO_TOKEN, UNKNOWN, ScoredTexts, TextDecoder
from pipeline.tasks.metrics import texts as metrics
from pipeline.tasks.metrics.texts import (
    check_installed,
    compute_bleu,
    compute_chrf,
    count_matches,
    count_token_matches,
)

sacrebleu = pytest.importorskip("sacrebleu")

WORDS = ("a", "bell", "drum", "red", "rings", "the", ",")
SENTENCE = st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join)
TRUTHS = st.lists(SENTENCE.filter(bool), min_size=1, max_size=3)


@given(st.lists(st.tuples(SENTENCE, TRUTHS), min_size=1, max_size=6))
@settings(max_examples=60, deadline=None)
def test_scores_are_those_of_sacrebleu(samples: list[tuple[str, list[str]]]) -> None:
    generated, truths = [text for text, _ in samples], [own for _, own in samples]
    most = max(map(len, truths))
    streams = [[own[n] if n < len(own) else None for own in truths] for n in range(most)]
    expected = sacrebleu.corpus_bleu(generated, streams).score
    assert compute_bleu(count_matches(generated, truths).sum(0)) == pytest.approx(expected, abs=1e-9)
    assert compute_chrf(generated, truths) == pytest.approx(sacrebleu.corpus_chrf(generated, streams).score, abs=1e-9)


@given(st.lists(st.integers(0, 4), max_size=8), st.lists(st.integers(0, 4), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_tokens_are_counted_as_sacrebleu_counts_words(text: list[int], truth: list[int]) -> None:
    one, other = (" ".join(f"w{token}" for token in tokens) for tokens in (text, truth))
    assert count_token_matches(text, truth).tolist() == count_matches([one], [[other]])[0].tolist()


def test_the_constant_text_has_the_highest_bleu_of_all() -> None:
    texts = [(1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 4, 6), (7, 8)]
    chosen = choose_text(texts, ())
    assert chosen in texts
    assert choose_text([(1, 2, 9, 3), (1, 2, 9, 3)], (9,)) == (1, 2, 3)

    def score(text: tuple[int, ...]) -> float:
        return compute_bleu(np.sum([count_token_matches(text, other) for other in texts], axis=0))

    assert score(chosen) == max(map(score, texts))


def test_shares_of_right_texts_and_tokens() -> None:
    truth = np.array([[[5, 6, -1], [5, 7, 8]], [[5, 9, -1], [-1, -1, -1]], [[1, 6, -1], [-1, -1, -1]]], np.int32)
    tokens = np.array([[5, 7, 8], [5, 9, 9], [1, 6, -1]], np.int32)
    scored = ScoredTexts(tokens, truth, TextDecoder(lambda ids: " ".join(map(str, ids)), (1,)))
    scores = scored.compute_scores()
    assert NO_TOKEN == -1
    assert scored.truths[1:] == [["5 9"], [f"{UNKNOWN} 6"]]
    # The second of the first sample's texts; of the third one a token is unknown, and never right.
    assert scores["exact_match"] == pytest.approx(1 / 3)
    # 5 of (5 6 end), all of (5 7 8), 5 and 9 of (5 9 end), 6 and the end of (1 6 end).
    assert scores["token_accuracy"] == pytest.approx((1 + 3 + 2 + 2) / 12)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    check_installed()
    monkeypatch.setattr(metrics, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="it is not installed: pip install sacrebleu"):
        check_installed()
