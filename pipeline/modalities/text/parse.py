"""Parse texts into words, or keep them whole for byte pairs, independently of all other texts.

Learning and encoding are in other modules, so that an edit in them parses nothing again.
"""

from typing import Any

from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.annotations import describe_model, load_model, parse_annotated
from pipeline.modalities.text.params import AUTO, TextFeatures
from pipeline.modalities.text.placeholders import lower_text
from pipeline.modalities.text.words import choose_language, load_tokenizer, parse_words
from pipeline.runtime.stopwatch import clock


def parse_text(item: MediaItem, params: TextFeatures) -> Any:
    """Return JSON: the words, a list of str; with annotations, `AnnotatedWords`; for byte pairs the text itself, a str,
    since a frozen tokenizer splits texts in its own way.
    """
    with clock("tokenize"):
        return _parse(item.data.decode("utf-8"), item.language, params)


def _parse(text: str, language: str | None, params: TextFeatures) -> Any:
    if params.tokenizer == "bpe":
        return lower_text(text) if params.lowercase else text
    return parse_annotated(text, params) if params.annotate else parse_words(text, language, params)


def prepare_text(params: TextFeatures) -> None:
    """Load whatever splits and annotates texts.

    Raises:
        InputError: spaCy does not know the language, or its tokenizer needs a package that is not installed and there
            is no fallback; or the model is missing, cannot be loaded or does not set the annotations. The message names
            the settings.
    """
    if params.model is not None:
        load_model(params.model, params.annotate)
    elif params.tokenizer == "words":
        load_tokenizer(choose_language(None, params), params.fallback)


def reads_language(params: TextFeatures) -> bool:
    """Return whether the words of a text depend on its language."""
    return params.language == AUTO and params.tokenizer == "words" and params.model is None


def describe_text(params: TextFeatures) -> dict[str, str]:
    """Return the version of the model, if there is one, and of the libraries that it computes with.

    Raises:
        InputError: the model is missing; the message names the setting and what to install.
    """
    return {} if params.model is None else describe_model(params.model)
