"""Find names of persons with a spaCy pipeline that the user has."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

from pipeline.errors import ParamsError
from pipeline.privacy.spans import Span

if TYPE_CHECKING:
    from spacy.language import Language

LABELS = frozenset({"PERSON", "PER", "persName"})
"""What spaCy's pipelines call persons."""

CHARACTERS = 100_000
"""Of a text that are looked at at a time, at a space; spaCy takes a gigabyte of memory for a million."""


def find_person_names(text: str, model: str) -> Iterator[Span]:
    """Yield the spans of names that the pipeline finds, but those in placeholders."""
    start = 0
    pipeline = load_pipeline(model)
    while start < len(text):
        stop = start + CHARACTERS
        if stop < len(text):
            stop = max(text.rfind(" ", start, stop), start) + 1
            stop = stop if stop > start + 1 else start + CHARACTERS
        with pipeline.memory_zone():
            for entity in pipeline(text[start:stop]).ents:
                if entity.label_ in LABELS and "[" not in entity.text and "]" not in entity.text:
                    yield start + entity.start_char, start + entity.end_char
        start = stop


@cache
def load_pipeline(model: str) -> "Language":
    """Return a pipeline by the name of its package or its folder.

    Raises:
        ParamsError: spaCy does not find or cannot load it.
    """
    import spacy

    try:
        return spacy.load(model, exclude=["parser", "tagger", "lemmatizer", "attribute_ruler", "morphologizer"])
    except (OSError, ValueError, ImportError) as error:
        raise ParamsError(
            f"clean.text.redact_model is {model!r}; it must be the name of an installed pipeline of spaCy, as "
            "en_core_web_sm, or the folder of one"
        ) from error
