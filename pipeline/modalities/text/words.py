"""Split texts into words with spaCy's tokenizers."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, cast

from pipeline.errors import InputError
from pipeline.modalities.text.params import AUTO, TextFeatures
from pipeline.modalities.text.tokenizer_table import Tokenizer
from pipeline.runtime.stopwatch import clock

if TYPE_CHECKING:
    from spacy.language import Language

ANY_LANGUAGE = "xx"
"""spaCy's code for the language-independent tokenizer."""

CHINESE = "zh"

_IDEOGRAPH = re.compile("([\u2e80-\u9fff\uf900-\ufaff\uff01-\uff0f\uff1a-\uff20\uff3b-\uff65\U00020000-\U0003ffff])")
"""A character of Chinese or Japanese, which is a word for itself, or their punctuation. spaCy's own tokenizer for
Chinese splits `iPhone 15` into characters too."""

_SUBTAG = re.compile("[-_.@]")

MAX_STRINGS = 100_000
"""Of spaCy's string store, some 50 MB with what refers to them; beyond it the tokenizer is loaded again, in 0.4 s.

It never forgets a word except in a `memory_zone`, where it caches nothing and splits `the` again each time: 460 µs a
caption instead of 26.
"""


def choose_language(language: str | None, params: TextFeatures) -> str:
    """Return the code of the language whose tokenizer splits a text in this language: that of the params, or the text's
    own, such as `pt` for `pt-BR`, or `xx` where spaCy does not have it."""
    if params.language != AUTO:
        return params.language
    code = _SUBTAG.split(language or "")[0].lower()
    return code if code and _is_known(code) else ANY_LANGUAGE


@cache
def _is_known(code: str) -> bool:
    return code.isalpha() and importlib.util.find_spec(f"spacy.lang.{code}") is not None


def split_words(text: str, language: str | None, params: TextFeatures) -> list[str]:
    """Return the words and marks of a text in this language by spaCy's tokenizer, without white space.

    Raises:
        InputError: the language's tokenizer needs a package that is not installed; the message names the settings.
    """
    nlp = load_tokenizer(choose_language(language, params), params.fallback)
    pieces = [text]
    if nlp.lang == CHINESE:
        nlp = load_tokenizer(ANY_LANGUAGE, None)
        pieces = [piece for piece in _IDEOGRAPH.split(text) if piece]
    words = [token.text for piece in pieces for token in nlp.tokenizer(piece) if not token.is_space]
    if len(nlp.vocab.strings) > MAX_STRINGS:
        load_tokenizer.cache_clear()
    return words


def prepare_words(params: TextFeatures) -> None:
    """Load spaCy's tokenizer.

    Raises:
        InputError: see `load_tokenizer`.
    """
    load_tokenizer(choose_language(None, params), params.fallback)


def depend_on_language(params: TextFeatures) -> bool:
    """Return whether the words of a text depend on its language."""
    return params.language == AUTO


WORDS = Tokenizer(split=split_words, prepare=prepare_words, reads_language=depend_on_language)


@cache
def load_tokenizer(language: str, fallback: str | None) -> "Language":
    """Return spaCy's pipeline of the language, with nothing but its tokenizer.

    Raises:
        InputError: spaCy does not know the language, or its tokenizer needs a package that is not installed and there
            is no fallback; the message names the language and the settings.
    """
    with clock("load libraries"), _keep_torch_out():
        import spacy

    for setting, code in (("language", language), ("fallback", fallback)):
        if code is not None and not _is_known(code):
            raise InputError(f"extract.text.{setting} is {code!r}, which is not a language code of spaCy")
    try:
        return spacy.blank(language)
    except ImportError as error:
        if fallback is not None and fallback != language:
            return load_tokenizer(fallback, None)
        missing = _TOKENIZER_PACKAGES.get(language, "a package that spaCy does not name")
        raise InputError(
            f"extract.text.language is {language!r}, or that of a text where it is auto; its tokenizer needs "
            f"{missing}, which is not installed: install it, or name another language in extract.text.fallback (xx is "
            "the language-independent one, zh takes each character of Chinese or Japanese), or set "
            "extract.text.tokenizer to bpe, which needs nothing"
        ) from error


@contextmanager
def _keep_torch_out() -> Iterator[None]:
    """Make `import torch` fail meanwhile, unless torch is loaded already.

    spaCy's thinc imports it where it can: 2 s a process, more than everything else in a small run, and no tokenizer
    uses it.
    """
    if "torch" in sys.modules:
        yield
        return
    blocked: dict[str, ModuleType | None] = cast("dict[str, ModuleType | None]", sys.modules)
    blocked["torch"] = None  # how the import system marks a module that must not be imported
    try:
        yield
    finally:
        del sys.modules["torch"]


_TOKENIZER_PACKAGES = {
    "ja": "sudachipy and sudachidict_core",
    "ko": "natto-py and mecab-ko",
    "th": "pythainlp",
    "vi": "pyvi",
}
"""Packages that tokenizers of spaCy 3.8 need and spaCy does not install; its error names them only in prose."""
