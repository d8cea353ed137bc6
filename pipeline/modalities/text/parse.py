"""Parse texts into tokens, or keep them whole for byte pairs, independently of all other texts.

Learning and encoding are in other modules, so that an edit in them parses nothing again.
"""

from typing import Any

from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.annotations import describe_model, load_model, parse_annotated
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.placeholders import PLACEHOLDERS, lower_text, split_placeholders
from pipeline.modalities.text.tokenizer_table import TOKENIZERS
from pipeline.runtime.stopwatch import clock


def parse_text(item: MediaItem, params: TextFeatures) -> Any:
    """Return JSON: the tokens that the shards hold, a list of str, and one more, which says that they are cut; with
    annotations, `AnnotatedWords`; for byte pairs the text itself, a str, since a frozen tokenizer splits texts in its
    own way.
    """
    with clock("tokenize"):
        return _parse(item.data.decode("utf-8"), item.language, params)


def _parse(text: str, language: str | None, params: TextFeatures) -> Any:
    tokenizer = TOKENIZERS[params.tokenizer]
    if tokenizer.split is None:
        return lower_text(text) if params.lowercase and not tokenizer.as_is else text
    return parse_annotated(text, params) if params.annotate else split_text(text, params, language)[: params.length + 1]


def split_text(text: str, params: TextFeatures, language: str | None = None) -> list[str]:
    """Return the tokens of a text in this language by the tokenizer of the params. A placeholder is one token."""
    split = TOKENIZERS[params.tokenizer].split
    assert split is not None, params.tokenizer
    tokens: list[str] = []
    for part in split_placeholders(text):
        if part in PLACEHOLDERS:
            tokens.append(part)
        else:
            found = split(part, language, params)
            tokens += [token.lower() for token in found] if params.lowercase else found
    return tokens


def prepare_text(params: TextFeatures) -> None:
    """Load whatever splits and annotates texts.

    Raises:
        InputError: the tokenizer lacks a package, or does not know the language; or the model is missing, cannot be
            loaded or does not set the annotations. The message names the settings.
        ParamsError: the tokenizer is a plugin that cannot be imported; the message has its file.
    """
    if params.model is not None:
        load_model(params.model, params.annotate)
    else:
        TOKENIZERS[params.tokenizer].prepare(params)


def reads_language(params: TextFeatures) -> bool:
    """Return whether the tokens of a text depend on its language."""
    return params.model is None and TOKENIZERS[params.tokenizer].reads_language(params)


def describe_text(params: TextFeatures) -> dict[str, str]:
    """Return the version of the model, if there is one, and of the libraries that it computes with.

    Raises:
        InputError: the model is missing; the message names the setting and what to install.
    """
    return {} if params.model is None else describe_model(params.model)
