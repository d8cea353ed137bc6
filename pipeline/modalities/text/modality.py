"""Bundle the modality text, and choose between a vocabulary of tokens and byte pairs.

Token ids are int32 or uint16; 0 is padding, 1 a word that the vocabulary lacks, the others are indices into what was
learned. `check` checks texts, `parse` splits them by a tokenizer of `tokenizer_table`; `vocabulary` handles its tokens,
`byte_pairs` and `tokenizer_file` parts of words.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from pipeline.modalities.modality import Encoded, Learning, MediaItem, Modality
from pipeline.modalities.text.byte_pairs import learn_byte_pairs
from pipeline.modalities.text.check import check_text
from pipeline.modalities.text.coverage import review_coverage
from pipeline.modalities.text.join import join_parsed
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.parse import describe_text, parse_text, prepare_text, reads_language
from pipeline.modalities.text.rules import TextCheck
from pipeline.modalities.text.token_fields import plan_text_fields
from pipeline.modalities.text.tokenizer_file import count_pieces, encode_text, read_tokenizer
from pipeline.modalities.text.tokenizer_table import TOKENIZERS
from pipeline.modalities.text.vocabulary import (
    count_annotated,
    count_words,
    encode_annotated,
    encode_words,
    learn_vocabulary,
    read_vocabulary,
    tally_counts,
)


def extract_text(item: MediaItem, params: TextFeatures, learned: Any) -> Mapping[str, NDArray[Any]]:
    """Return the fields of `plan_text_fields`, encoded with what was learned."""
    return encode_parsed(parse_text(item, params), params, learned).arrays


def is_by_bytes(params: TextFeatures) -> bool:
    """Return whether tokens are byte pairs, not those that a tokenizer splits texts into."""
    return TOKENIZERS[params.tokenizer].split is None


def name_learned(params: TextFeatures) -> str:
    """Return the name of the file with what is learned."""
    return "tokenizer.json" if is_by_bytes(params) else "vocabulary.json"


def count_parsed(parsed: Any, params: TextFeatures) -> Counter[str]:
    """Count a text's tokens, or the pieces that byte pairs are learned from."""
    if is_by_bytes(params):
        return count_pieces(parsed, params)
    return count_annotated(parsed, params) if params.annotate else count_words(parsed, params)


def learn_tokens(counts: Mapping[str, int], params: TextFeatures) -> Any:
    """Return the vocabulary, or the byte pairs, of the training split."""
    return learn_byte_pairs(counts, params) if is_by_bytes(params) else learn_vocabulary(counts, params)


def check_learned(counts: Mapping[str, int], items: int, learned: Any, params: TextFeatures) -> None:
    """Check that the vocabulary knows enough of the training split. Byte pairs know any text; of annotated texts the
    counts do not tell, as they have lemmas too.

    Raises:
        InputError: see `review_coverage`.
    """
    if not is_by_bytes(params) and not params.annotate:
        tally = tally_counts(counts, items, learned)
        review_coverage(tally, tally, params)


def encode_parsed(parsed: Any, params: TextFeatures, learned: Any) -> Encoded:
    """Return the fields of a parsed text, and what they lack of it."""
    if is_by_bytes(params):
        return encode_text(parsed, params, learned)
    return encode_annotated(parsed, params, learned) if params.annotate else encode_words(parsed, params, learned)


def read_frozen(params: TextFeatures) -> Any | None:
    """Return what `params.frozen` names, None where it names nothing.

    Raises:
        InputError: the file is missing, has another sha256, or is not what the tokenizer needs; the message names the
            setting.
    """
    return read_tokenizer(params) if is_by_bytes(params) else read_vocabulary(params)


LEARNING = Learning(
    name_learned,
    parse_text,
    count_parsed,
    learn_tokens,
    check_learned,
    encode_parsed,
    review_coverage,
    read_frozen,
    join_parsed,
    late=("dtype", "vocabulary", "min_count", "min_known", "frozen"),
)

TEXT = Modality(
    "text",
    check_text,
    plan_text_fields,
    extract_text,
    prepare_text,
    TextCheck,
    TextFeatures,
    LEARNING,
    libraries=("SudachiPy", "SudachiDict-core", "natto-py", "pythainlp", "pyvi"),
    describe=describe_text,
    content="tokens",
    reads_language=reads_language,
)
