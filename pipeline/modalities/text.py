"""Texts: UTF-8, in one normal form and free of e-mail addresses and phone numbers, and made into token ids.

Token ids are int32 or uint16; 0 is padding, 1 a word that the vocabulary lacks, the others are places in what was
learned. `text_parsing` takes texts apart; `vocabulary` has words, `byte_pairs` and `tokenizer_file` parts of them.
"""

import hashlib
import unicodedata
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any

from numpy.typing import NDArray
from pydantic import Field as Limits

from pipeline.modalities.byte_pairs import learn_byte_pairs
from pipeline.modalities.characters import normalize_text
from pipeline.modalities.modality import Checked, Fingerprint, Item, Learning, Modality
from pipeline.modalities.redaction import Kind, redact_text
from pipeline.modalities.text_features import TextFeatures
from pipeline.modalities.text_parsing import describe_text, parse_text, prepare_text
from pipeline.modalities.tokenizer_file import count_pieces, encode_text, read_tokenizer
from pipeline.modalities.tokens import plan_text_fields
from pipeline.modalities.vocabulary import (
    count_annotated,
    count_words,
    encode_annotated,
    encode_words,
    learn_vocabulary,
    read_vocabulary,
)
from pipeline.params import Params
from pipeline.records import Reason, Rejection


class TextCheck(Params):
    """What a text must be to be kept, and what is taken out of it."""

    min_characters: Annotated[int, Limits(ge=1)]
    """Code points, of the cleaned text."""
    max_characters: Annotated[int, Limits(ge=1, le=1_000_000)]
    """Code points, of the text as it came."""
    redact: Annotated[tuple[Kind, ...], Limits(strict=False)]
    """What is replaced by [EMAIL] and [PHONE]."""


def check_text(data: bytes, media_type: str, params: TextCheck) -> Checked | Rejection:
    """Normalise and redact a text, and judge what is left. The fact is characters (code points)."""
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as fault:
        return Rejection(Reason.NOT_UTF8, "first byte that is not UTF-8", str(fault.start))
    if len(text) > params.max_characters:
        return Rejection(Reason.TOO_LONG, "characters", str(len(text)), str(params.max_characters))
    text, redactions = redact_text(normalize_text(text), params.redact)
    if not text:
        return Rejection(Reason.EMPTY, "no visible characters")
    if len(text) < params.min_characters:
        return Rejection(Reason.TOO_SHORT, "characters", str(len(text)), str(params.min_characters))
    cleaned = text.encode()
    return Checked(
        data if cleaned == data else cleaned, {"characters": len(text)}, Fingerprint(_hash_words(text)), redactions
    )


def extract_text(item: Item, params: TextFeatures, learned: Any) -> dict[str, NDArray[Any]]:
    """The fields of `plan_text_fields` by what was learned."""
    return encode_parsed(parse_text(item, params), params, learned)


def name_learned(params: TextFeatures) -> str:
    """The name of the file with what is learned."""
    return "tokenizer.json" if params.tokenizer == "bpe" else "vocabulary.json"


def count_parsed(parsed: Any, params: TextFeatures) -> Counter[str]:
    """How often a text has each word, or each piece that byte pairs are learned of."""
    if params.tokenizer == "bpe":
        return count_pieces(parsed, params)
    return count_annotated(parsed, params) if params.annotate else count_words(parsed, params)


def learn_tokens(counts: Mapping[str, int], params: TextFeatures) -> Any:
    """The vocabulary, or the byte pairs, of the training split."""
    return learn_byte_pairs(counts, params) if params.tokenizer == "bpe" else learn_vocabulary(counts, params)


def encode_parsed(parsed: Any, params: TextFeatures, learned: Any) -> dict[str, NDArray[Any]]:
    """The fields of a text that was parsed."""
    if params.tokenizer == "bpe":
        return encode_text(parsed, params, learned)
    return encode_annotated(parsed, params, learned) if params.annotate else encode_words(parsed, params, learned)


def read_frozen(params: TextFeatures) -> Any | None:
    """What `params.frozen` names, if anything.

    Raises:
        InputError: the file is missing, has another sha256, or is not what the tokenizer needs; the message names the
            setting.
    """
    return read_tokenizer(params) if params.tokenizer == "bpe" else read_vocabulary(params)


def _hash_words(text: str) -> int:
    """64 bits that texts share whose words are the same, whatever their case, punctuation and spacing."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    spaced = "".join(" " if unicodedata.category(char)[0] in "PZC" else char for char in folded)
    words = " ".join(spaced.split()) or text
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")


LEARNING = Learning(
    name_learned,
    parse_text,
    count_parsed,
    learn_tokens,
    encode_parsed,
    read_frozen,
    late=("dtype", "vocabulary", "min_count", "frozen"),
)

TEXT = Modality(
    "text",
    check_text,
    plan_text_fields,
    extract_text,
    prepare_text,
    LEARNING,
    libraries=("SudachiPy", "SudachiDict-core", "natto-py", "pythainlp", "pyvi"),
    describe=describe_text,
)
