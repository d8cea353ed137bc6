"""Join parsed texts to one: what the parts of `many: join` hold."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, TypeVar

from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.parse import parse_text
from pipeline.modalities.text.tokenizer_table import TOKENIZERS

Word = TypeVar("Word")


def join_parsed(parsed: Sequence[Any], joiner: str, params: TextFeatures) -> Any:
    """Return what `parse_text` gives for the texts with `joiner` between them, each split into tokens by itself.

    Tokens are cut after `params.length` and one more, as those of one text.
    """
    if TOKENIZERS[params.tokenizer].split is None:
        return _parse(joiner, params).join(parsed)
    between = _parse(joiner, params) if joiner.strip() else None  # spaCy need not be loaded for white space
    if not params.annotate:
        return _join_words(parsed, between or [], params.length)
    names = ("words", "lemmas", "pos")
    return {
        name: _join_words([each[name] for each in parsed], between[name] if between else [], params.length)
        for name in names
    }


@lru_cache(maxsize=64)
def _parse(joiner: str, params: TextFeatures) -> Any:
    return parse_text(MediaItem(joiner.encode(), "text/plain"), params)


def _join_words(texts: Sequence[Sequence[Word]], between: Sequence[Word], length: int) -> list[Word]:
    """Return the first `length` words of the texts with the words `between` them, and one more."""
    joined: list[Word] = []
    for number, words in enumerate(texts):
        if number:
            joined += between
        joined += words
    return joined[: length + 1]
