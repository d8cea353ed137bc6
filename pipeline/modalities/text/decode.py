"""Turn token ids back into a text."""

from collections.abc import Sequence
from typing import Any

from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.token_fields import PAD, SPECIAL_WORDS
from pipeline.modalities.text.tokenizer_file import load_tokenizer_file
from pipeline.modalities.text.tokenizer_table import TOKENIZERS


def decode_tokens(ids: Sequence[int], params: TextFeatures, learned: Any) -> str:
    """Return a text that has these tokens: the first `tokens_length` of the field `tokens`.

    Byte pairs give the text itself, but for its case where `params.lowercase` is set. A tokenizer that splits joins its
    tokens as it says, words by spaces; unknown ones are `<unk>`, and padding is left out.

    Args:
        ids: the token ids.
        params: those that the dataset was made with.
        learned: the content of its `vocabulary.json` or `tokenizer.json`.
    """
    tokenizer = TOKENIZERS[params.tokenizer]
    if tokenizer.split is None:
        text: str = load_tokenizer_file(learned).decode(list(ids), skip_special_tokens=False)
        return text
    padding = SPECIAL_WORDS.index(PAD)
    return tokenizer.join([learned["words"][number] for number in ids if number != padding])
