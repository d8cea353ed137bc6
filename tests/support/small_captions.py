"""Make small datasets whose texts say what the other parts show."""

from pathlib import Path

import numpy as np

from tests.support.factory_shards import Arrays, Toy, make_shards

PHRASES = ((2, 3, 4), (2, 5, 6, 7), (8, 3), (9, 5, 6, 10, 11))
"""Tokens of the text of each class."""


def write_phrase(key: str, arrays: Arrays) -> Arrays:
    """Give a sample the text of its class."""
    phrase = PHRASES[int(arrays["label"]) % len(PHRASES)]
    tokens = np.zeros(6, np.int32)
    tokens[: len(phrase)] = phrase
    return arrays | {"tokens": tokens, "tokens_length": len(phrase)}


def make_captioned(root: Path, toy: Toy) -> Path:
    """Write the dataset into `root`: the text is that of the class, which image and audio show."""
    return make_shards(root, toy, spoil=write_phrase)
