"""Annotate the words of a text with lemmas and parts of speech, by a trained pipeline of spaCy.

The pipeline is an installed package or a folder, and is never downloaded. A package is identified by its version, a
folder by its files.
"""

import hashlib
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from pipeline.errors import InputError
from pipeline.modalities.text.params import TextFeatures
from pipeline.modalities.text.placeholders import PLACEHOLDERS, split_placeholders
from shardwright.errors import FormatError
from shardwright.format.canonical_json import decode_json

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Doc, Token

TAGS = (
    "ADJ", "ADP", "ADV", "AUX", "CCONJ", "DET", "INTJ", "NOUN", "NUM",
    "PART", "PRON", "PROPN", "PUNCT", "SCONJ", "SYM", "VERB", "X",
)  # fmt: skip
"""The universal parts of speech (https://universaldependencies.org/u/pos), numbered from 1."""

OTHER = TAGS.index("X") + 1

SETTERS = {
    "lemma": {"lemmatizer", "trainable_lemmatizer", "attribute_ruler"},
    "pos": {"morphologizer", "attribute_ruler"},
}
"""The components of spaCy that set each annotation; others declare it in `assigns`."""

NEEDLESS = ("ner", "textcat", "textcat_multilabel", "entity_linker", "entity_ruler")
"""Components that set neither: the first of them takes a quarter of the time."""

LIBRARIES = ("thinc", "spacy-transformers", "spacy-curated-transformers", "torch")
"""Distributions that a pipeline computes with, where they are installed."""


class AnnotatedWords(TypedDict):
    """Lists of one length; parts of speech are numbers, see `TAGS`."""

    words: list[str]
    lemmas: list[str]
    pos: list[int]


def parse_annotated(text: str, params: TextFeatures) -> AnnotatedWords:
    """Return the first `params.length` words of a text, one more, which says that they are cut, and the annotations of
    all; the model does not see the others.

    A placeholder is one word, and its own lemma. A word without a lemma is its own lemma, one without a part of speech
    is X.
    """
    assert params.model is not None
    nlp = load_model(params.model, params.annotate)
    with nlp.memory_zone():  # loading a model anew would take more than the 0.4 s of a tokenizer
        doc = split_document(text, params.length + 1, nlp)
        if len(doc):
            for _, component in nlp.pipeline:
                doc = component(doc)
        return {
            "words": [_fold(token.text, params) for token in doc],
            "lemmas": [_find_lemma(token, params) for token in doc],
            "pos": [TAGS.index(token.pos_) + 1 if token.pos_ in TAGS else OTHER for token in doc],
        }


def split_document(text: str, length: int, nlp: "Language") -> "Doc":
    """Return the first `length` words and marks of `text` by the pipeline's tokenizer, without white space."""
    from spacy.tokens import Doc

    words: list[str] = []
    spaces: list[bool] = []
    norms: list[str] = []
    for part in split_placeholders(text):
        tokens = Doc(nlp.vocab, [part], [False]) if part in PLACEHOLDERS else nlp.tokenizer(part)
        for token in tokens:
            if token.is_space:
                spaces[-1:] = [True] * len(spaces[-1:])
                continue
            words.append(token.text)
            spaces.append(bool(token.whitespace_))
            norms.append(token.norm_)
    doc = Doc(nlp.vocab, words[:length], spaces[:length])
    for token, norm in zip(doc, norms, strict=False):
        token.norm_ = norm  # set by the tokenizer, such as `not` of `n't`: models read it
    return doc


def _fold(word: str, params: TextFeatures) -> str:
    return word.lower() if params.lowercase and word not in PLACEHOLDERS else word


def _find_lemma(token: "Token", params: TextFeatures) -> str:
    return token.text if token.text in PLACEHOLDERS else _fold(token.lemma_ or token.text, params)


@cache
def load_model(model: str, annotate: tuple[str, ...]) -> "Language":
    """Return the pipeline, on the CPU, without components that are not needed.

    Raises:
        InputError: it is missing, cannot be loaded, or does not set an annotation that the params name; the message
        names
            the setting.
    """
    describe_model(model)
    import spacy

    try:
        nlp = spacy.load(Path(model) if is_folder(model) else model, exclude=NEEDLESS)
    except (ImportError, OSError, ValueError, KeyError) as error:
        raise InputError(
            f"extract.text.model is {model!r}, which spaCy {spacy.__version__} cannot load: {error}"
        ) from error
    for name in annotate:
        if not any(_sets(nlp, component, name) for component in nlp.pipe_names):
            components = ", ".join(nlp.pipe_names) or "no components"
            raise InputError(f"extract.text.annotate has {name!r}, which {model!r} with {components} does not set")
    return nlp


def _sets(nlp: "Language", component: str, annotation: str) -> bool:
    meta = nlp.get_pipe_meta(component)
    return meta.factory in SETTERS[annotation] or f"token.{annotation}" in meta.assigns


def describe_model(model: str) -> dict[str, str]:
    """Return the versions of the pipeline and of the libraries that it computes with, by name; of a folder also the
    sha256 of its files.

    Raises:
        InputError: there is no such package or folder, or it holds no pipeline; the message names the setting and what
            to install.
    """
    known = _describe_folder(Path(model)) if is_folder(model) else _describe_package(model)
    for name in LIBRARIES:
        try:
            known[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return known


def is_folder(model: str) -> bool:
    """Return whether `model` names a folder, and not a package."""
    return "/" in model


def _describe_package(name: str) -> dict[str, str]:
    try:
        found = metadata.distribution(name)
    except (metadata.PackageNotFoundError, ValueError):
        raise InputError(
            f"extract.text.model is {name!r}, which is not installed: install the package {name} with pip, as spaCy's "
            f"models page says, or name a folder with a slash in it, such as ./{name}"
        ) from None
    if not found.entry_points.select(group="spacy_models"):
        raise InputError(f"extract.text.model is {name!r}, a package that is not a pipeline of spaCy")
    return {name: found.version}


def _describe_folder(folder: Path) -> dict[str, str]:
    try:
        meta = decode_json((folder / "meta.json").read_bytes())
        name, version = f"{meta['lang']}_{meta['name']}", str(meta["version"])
    except (OSError, FormatError, KeyError, TypeError):
        raise InputError(
            f"extract.text.model is {folder}, which is not a folder written by spaCy's nlp.to_disk"
        ) from None
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {name: f"{version}, files {digest.hexdigest()}"}
