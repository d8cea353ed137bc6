"""A tokenizer for `extract.text.tokenizer`: each character is a token, also white space, so that texts come back."""

from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.tokenizer_table import Tokenizer


def split_characters(text: str, language: str | None, params: TextFeatures) -> list[str]:
    """Return the code points of a text."""
    return [*text]


CHARACTERS = Tokenizer(split=split_characters, join="".join)
