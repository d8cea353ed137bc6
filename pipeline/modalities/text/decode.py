"""Turn token ids back into a text."""

from collections.abc import Callable, Sequence
from typing import Any

from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.token_fields import PAD, SPECIAL_WORDS
from pipeline.modalities.text.tokenizer_file import load_tokenizer_file
from pipeline.modalities.text.tokenizer_table import TOKENIZERS

Decode = Callable[[Sequence[int]], str]
"""Returns a text that has these tokens: of a text in the shards the first `tokens_length` of the field `tokens`."""


def make_decoder(tokenizer: str, learned: Any) -> Decode:
    """Return what turns token ids into a text.

    Byte pairs give the text itself, but for its case where `lowercase` is set. A tokenizer that splits joins its
    tokens as it says, words by spaces; unknown ones are `<unk>`, and padding is left out.

    Args:
        tokenizer: `extract.text.tokenizer` of the dataset.
        learned: the content of its `vocabulary.json` or `tokenizer.json`.

    Raises:
        ParamsError: the tokenizer is a plugin that cannot be loaded.
    """
    chosen = TOKENIZERS[tokenizer]
    if chosen.split is None:
        byte_pairs = load_tokenizer_file(learned)
        return lambda ids: str(byte_pairs.decode(list(ids), skip_special_tokens=False))
    padding, words = SPECIAL_WORDS.index(PAD), learned["words"]
    return lambda ids: chosen.join([words[number] for number in ids if number != padding])


def decode_tokens(ids: Sequence[int], params: TextFeatures, learned: Any) -> str:
    """Return a text that has these tokens, see `make_decoder`."""
    return make_decoder(params.tokenizer, learned)(ids)
