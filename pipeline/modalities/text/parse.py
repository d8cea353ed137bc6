"""What of a text its tokens are made of, without a look at any other text.

What learns and what encodes is elsewhere, so that an edit there parses nothing anew.
"""

from typing import Any

from pipeline.modalities.modality import MediaItem
from pipeline.modalities.text.annotations import describe_model, load_model, parse_annotated
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.placeholders import lower_text
from pipeline.modalities.text.words import load_tokenizer, parse_words
from pipeline.runtime.stopwatch import clock


def parse_text(item: MediaItem, params: TextFeatures) -> Any:
    """JSON: the words, a list of str; with annotations, `AnnotatedWords`; for byte pairs the text itself, a str.

    Of that more is not known: a frozen tokenizer has its own way to take a text apart.
    """
    with clock("tokenize"):
        return _parse(item.data.decode("utf-8"), params)


def _parse(text: str, params: TextFeatures) -> Any:
    if params.tokenizer == "bpe":
        return lower_text(text) if params.lowercase else text
    return parse_annotated(text, params) if params.annotate else parse_words(text, params)


def prepare_text(params: TextFeatures) -> None:
    """See that what takes texts apart can be made.

    Raises:
        InputError: spaCy does not know the language, or its tokenizer needs a package that is not installed and there
            is no fallback; or the model is missing, cannot be loaded or does not set what is wanted. The message names
            the settings.
    """
    if params.model is not None:
        load_model(params.model, params.annotate)
    elif params.tokenizer == "words":
        load_tokenizer(params.language, params.fallback)


def describe_text(params: TextFeatures) -> dict[str, str]:
    """The version of the model, if there is one, and of what it computes with.

    Raises:
        InputError: the model is missing; the message names the setting and what to install.
    """
    return {} if params.model is None else describe_model(params.model)
