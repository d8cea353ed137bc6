"""Texts: UTF-8, in one normal form and free of e-mail addresses and phone numbers, and made into token ids.

Token ids are int32; 0 is padding, 1 a word that the vocabulary lacks, the others are places in the learned list.
"""

import hashlib
import importlib.util
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypedDict

import numpy as np
from numpy.typing import NDArray
from pydantic import Field as Limits

from pipeline.errors import InputError
from pipeline.modalities.characters import normalize_text
from pipeline.modalities.modality import Checked, Fingerprint, Item, Learning, Modality
from pipeline.modalities.redaction import PLACEHOLDERS, Kind, redact_text
from pipeline.params import Params
from pipeline.records import Reason, Rejection
from shardwright.canonical import decode_json
from shardwright.errors import FormatError
from shardwright.field import Field

if TYPE_CHECKING:
    from spacy.language import Language

PAD, UNKNOWN = "<pad>", "<unk>"
SPECIAL_WORDS = (PAD, UNKNOWN)

LanguageCode = Annotated[str, Limits(pattern=r"^[a-z]{2,3}$")]


class TextCheck(Params):
    """What a text must be to be kept, and what is taken out of it."""

    min_characters: Annotated[int, Limits(ge=1)]
    """Code points, of the cleaned text."""
    max_characters: Annotated[int, Limits(ge=1, le=1_000_000)]
    """Code points, of the text as it came."""
    redact: Annotated[tuple[Kind, ...], Limits(strict=False)]
    """What is replaced by [EMAIL] and [PHONE]."""


class FrozenVocabulary(Params):
    """A file that this stage once wrote as `5_shards/vocabulary.json`, kept somewhere else."""

    path: Annotated[str, Limits(min_length=1)]
    """Where it is."""
    sha256: Annotated[str, Limits(pattern="^[0-9a-f]{64}$")]
    """Of the file: it is refused with any other content."""


class TextFeatures(Params):
    """What becomes of a text in the shards."""

    language: LanguageCode
    """spaCy's code of the language whose tokenizer is used; `xx` is the language-independent one."""
    fallback: LanguageCode | None
    """Language to use if a package that this one's tokenizer needs is not installed; null: that is an error."""
    lowercase: bool
    """Words are counted and looked up in lower case."""
    length: Annotated[int, Limits(ge=1, le=65536)]
    """Tokens; longer texts are cut, shorter ones padded."""
    vocabulary: Annotated[int, Limits(ge=1, le=10_000_000)]
    """Words at most, the most frequent ones; padding and unknown come on top."""
    min_count: Annotated[int, Limits(ge=1)]
    """Occurrences in the training split below which a word is unknown."""
    frozen: FrozenVocabulary | None = None
    """A vocabulary to use as it is instead of learning one: new texts then change no other text's ids."""


class Vocabulary(TypedDict):
    """What is learned from the training split: the words in the order of their ids."""

    words: list[str]


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


def plan_text_fields(params: TextFeatures) -> Mapping[str, Field]:
    """`tokens`: int32 (length,), axes T, padded with 0; `tokens_length`: int32, tokens of the text, cut at length."""
    return {
        "tokens": Field("int32", (params.length,), axes="T", unit="id", padding=0),
        "tokens_length": Field("int32", (), unit="tokens"),
    }


def extract_text(item: Item, params: TextFeatures, learned: Vocabulary) -> dict[str, NDArray[Any]] | Rejection:
    """`tokens` and `tokens_length` by the vocabulary `learned`."""
    return encode_words(parse_words(item, params), params, learned)


def parse_words(item: Item, params: TextFeatures) -> list[str]:
    """The words of an item that the shards will hold, as `split_words` finds them."""
    return split_words(item.data.decode("utf-8"), params)[: params.length]


def encode_words(words: Sequence[str], params: TextFeatures, learned: Vocabulary) -> dict[str, NDArray[Any]]:
    """`tokens` and `tokens_length` of at most `params.length` words."""
    ids = _index_words(learned["words"])
    unknown = ids[UNKNOWN]
    tokens = np.zeros(params.length, np.int32)
    tokens[: len(words)] = [ids.get(word, unknown) for word in words]
    return {"tokens": tokens, "tokens_length": np.array(len(words), np.int32)}


def count_words(words: Sequence[str], params: TextFeatures) -> Counter[str]:
    """How often each of an item's words stands in it."""
    return Counter(words)


def learn_vocabulary(counts: Mapping[str, int], params: TextFeatures) -> Vocabulary:
    """Padding, unknown, then the most frequent words; equally frequent ones in code-point order."""
    known = [word for word, count in counts.items() if count >= params.min_count and word not in SPECIAL_WORDS]
    known.sort(key=lambda word: (-counts[word], word))
    return {"words": [*SPECIAL_WORDS, *known[: params.vocabulary]]}


def read_vocabulary(params: TextFeatures) -> Vocabulary | None:
    """The vocabulary that `params.frozen` names; None where it names none.

    Raises:
        InputError: the file is missing, has another sha256, or holds no vocabulary; the message names the setting.
    """
    if params.frozen is None:
        return None
    path = Path(params.frozen.path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"extract.text.frozen.path: {path} cannot be read: {error.strerror}") from error
    sha256 = hashlib.sha256(content).hexdigest()
    if sha256 != params.frozen.sha256:
        raise InputError(f"extract.text.frozen.sha256: {path} has the sha256 {sha256}, not {params.frozen.sha256}")
    try:
        words = decode_json(content)["words"]
    except (FormatError, KeyError, TypeError):
        words = None
    if not _is_vocabulary(words):
        raise InputError(f"extract.text.frozen.path: {path} is no vocabulary.json of this stage")
    return {"words": words}


def _is_vocabulary(words: object) -> bool:
    """Distinct words, with the special ones in front."""
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return False
    return tuple(words[:2]) == SPECIAL_WORDS and len(set(words)) == len(words)


def prepare_text(params: TextFeatures) -> None:
    """See that the tokenizer can be made.

    Raises:
        InputError: spaCy does not know the language, or its tokenizer needs a package that is not installed and there
            is no fallback; the message names the language and the settings.
    """
    load_tokenizer(params.language, params.fallback)


def split_words(text: str, params: TextFeatures) -> list[str]:
    """The words and marks of `text` by spaCy's tokenizer, without white space. A placeholder is one word."""
    nlp = load_tokenizer(params.language, params.fallback)
    words: list[str] = []
    with nlp.memory_zone():  # else every new word stays in spaCy's string store for good
        for part in _PLACEHOLDER.split(text):
            if part in PLACEHOLDERS:
                words.append(part)
            elif part:
                found = [token.text for token in nlp.tokenizer(part) if not token.is_space]
                words += [word.lower() for word in found] if params.lowercase else found
    return words


_PLACEHOLDER = re.compile("(" + "|".join(re.escape(name) for name in PLACEHOLDERS) + ")")


@cache
def load_tokenizer(language: str, fallback: str | None) -> "Language":
    """spaCy's pipeline of the language with nothing in it but the tokenizer.

    Raises:
        InputError: as `prepare_text`.
    """
    import spacy

    for setting, code in (("language", language), ("fallback", fallback)):
        if code is not None and importlib.util.find_spec(f"spacy.lang.{code}") is None:
            raise InputError(f"extract.text.{setting} is {code!r}, which is no language code of spaCy")
    try:
        return spacy.blank(language)
    except ImportError as error:
        if fallback is not None and fallback != language:
            return load_tokenizer(fallback, None)
        missing = _TOKENIZER_PACKAGES.get(language, "a package that spaCy does not name")
        raise InputError(
            f"extract.text.language is {language!r}, whose tokenizer needs {missing}, which is not installed: "
            "install it, or name another language in extract.text.fallback (xx is the language-independent one)"
        ) from error


_TOKENIZER_PACKAGES = {
    "ja": "sudachipy and sudachidict_core",
    "ko": "natto-py and mecab-ko",
    "th": "pythainlp",
    "vi": "pyvi",
}
"""What the tokenizers of spaCy 3.8 need that spaCy does not bring; its error says so in words alone."""

_indexed: tuple[list[str], dict[str, int]] = ([], {})


def _index_words(words: list[str]) -> dict[str, int]:
    """The id of each word. The last list's index is kept, with the list itself, so that `is` proves it to be that."""
    global _indexed
    if _indexed[0] is not words:
        _indexed = (words, {word: number for number, word in enumerate(words)})
    return _indexed[1]


def _hash_words(text: str) -> int:
    """64 bits that texts share whose words are the same, whatever their case, punctuation and spacing."""
    folded = unicodedata.normalize("NFKC", text.casefold())
    spaced = "".join(" " if unicodedata.category(char)[0] in "PZC" else char for char in folded)
    words = " ".join(spaced.split()) or text
    return int.from_bytes(hashlib.blake2b(words.encode(), digest_size=8).digest(), "little")


LEARNING = Learning(
    parse_words,
    count_words,
    learn_vocabulary,
    encode_words,
    read_vocabulary,
    late=("vocabulary", "min_count", "frozen"),
)

TEXT = Modality(
    "text",
    check_text,
    plan_text_fields,
    extract_text,
    prepare_text,
    LEARNING,
    libraries=("SudachiPy", "SudachiDict-core", "natto-py", "pythainlp", "pyvi"),
)
