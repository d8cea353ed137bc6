"""Learn a vocabulary of words from the training split, or read a frozen one, and encode texts with it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TypedDict

from pipeline.errors import InputError
from pipeline.modalities.modality import Encoded, TokenTally
from pipeline.modalities.text.annotations import AnnotatedWords
from pipeline.modalities.text.frozen_file import check_room, read_frozen_file
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.token_fields import SPECIAL_WORDS, UNKNOWN, fill_tokens, pad


class Vocabulary(TypedDict):
    """What is learned from the training split: words in the order of their ids."""

    words: list[str]


def count_words(words: Sequence[str], params: TextFeatures) -> Counter[str]:
    """Count the words of an item that the shards hold."""
    return Counter(words[: params.length])


def count_annotated(parsed: AnnotatedWords, params: TextFeatures) -> Counter[str]:
    """Count the positions at which each word occurs, as it is or as a lemma: both are in one vocabulary."""
    words = parsed["words"][: params.length]
    counts = Counter(words)
    if "lemma" in params.annotate:
        lemmas = parsed["lemmas"][: params.length]
        counts.update(lemma for word, lemma in zip(words, lemmas, strict=True) if lemma != word)
    return counts


def learn_vocabulary(counts: Mapping[str, int], params: TextFeatures) -> Vocabulary:
    """Return padding, unknown, then the most frequent words; equally frequent ones in code-point order."""
    known = [word for word, count in counts.items() if count >= params.min_count and word not in SPECIAL_WORDS]
    known.sort(key=lambda word: (-counts[word], word))
    return {"words": [*SPECIAL_WORDS, *known[: params.vocabulary]]}


def tally_counts(counts: Mapping[str, int], items: int, learned: Vocabulary) -> TokenTally:
    """Return what encoding the words of so many items would find, but for how many are cut."""
    tokens = sum(counts.values())
    known = sum(counts.get(word, 0) for word in learned["words"][len(SPECIAL_WORDS) :])
    return TokenTally(items, 0, tokens, tokens - known)


def encode_words(words: Sequence[str], params: TextFeatures, learned: Vocabulary) -> Encoded:
    """Return `tokens` and `tokens_length` of at most `params.length` words."""
    return fill_tokens(_look_up(words, learned), params, SPECIAL_WORDS.index(UNKNOWN))


def encode_annotated(parsed: AnnotatedWords, params: TextFeatures, learned: Vocabulary) -> Encoded:
    """Return `tokens`, `tokens_length`, and `lemmas` and `pos` where the params name them."""
    encoded = encode_words(parsed["words"], params, learned)
    arrays = dict(encoded.arrays)
    if "lemma" in params.annotate:
        arrays["lemmas"] = pad(_look_up(parsed["lemmas"][: params.length], learned), params, params.dtype)
    if "pos" in params.annotate:
        arrays["pos"] = pad(parsed["pos"][: params.length], params, "uint8")
    return Encoded(arrays, encoded.tally)


def read_vocabulary(params: TextFeatures) -> Vocabulary | None:
    """Return the vocabulary that `params.frozen` names; None where it names none.

    Raises:
        InputError: the file is missing, has another sha256, holds no vocabulary, or one too large for `dtype`; the
            message names the setting.
    """
    if params.frozen is None:
        return None
    document = read_frozen_file(params.frozen)
    words = document.get("words") if isinstance(document, dict) else None
    if not isinstance(words, list) or not _is_vocabulary(words):
        raise InputError(f"extract.text.frozen.path is {params.frozen.path}, which is no vocabulary.json of this stage")
    check_room(len(words) - 1, params)
    return {"words": words}


def _is_vocabulary(words: list[object]) -> bool:
    """Return whether these are distinct words with the special ones in front."""
    if not all(isinstance(word, str) for word in words):
        return False
    return tuple(words[:2]) == SPECIAL_WORDS and len(set(words)) == len(words)


def _look_up(words: Sequence[str], learned: Vocabulary) -> list[int]:
    ids = _index_words(learned["words"])
    unknown = SPECIAL_WORDS.index(UNKNOWN)
    return [ids.get(word, unknown) for word in words]


_indexed: tuple[list[str], dict[str, int]] = ([], {})


def _index_words(words: list[str]) -> dict[str, int]:
    """Return the id of each word but the special ones, which a text may spell, too. The last index is cached with its
    list, which `is` compares."""
    global _indexed
    if _indexed[0] is not words:
        _indexed = (words, {word: number for number, word in enumerate(words) if number >= len(SPECIAL_WORDS)})
    return _indexed[1]
