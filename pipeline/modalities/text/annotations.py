"""What a trained pipeline of spaCy says of the words of a text: their lemmas and parts of speech.

The pipeline is an installed package or a folder, and is never downloaded. A package is known by its version, a folder
by its files.
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
"""The universal parts of speech (https://universaldependencies.org/u/pos) in the order of their numbers, from 1."""

OTHER = TAGS.index("X") + 1

SETTERS = {
    "lemma": {"lemmatizer", "trainable_lemmatizer", "attribute_ruler"},
    "pos": {"morphologizer", "attribute_ruler"},
}
"""The components of spaCy that set what is asked for; others say so in `assigns`."""

NEEDLESS = ("ner", "textcat", "textcat_multilabel", "entity_linker", "entity_ruler")
"""Components that set neither: the first of them is a quarter of the time."""

LIBRARIES = ("thinc", "spacy-transformers", "spacy-curated-transformers", "torch")
"""What a pipeline computes with, where it is installed."""


class AnnotatedWords(TypedDict):
    """Lists of the same length, of the words that the shards will hold; parts of speech are numbers, see `TAGS`."""

    words: list[str]
    lemmas: list[str]
    pos: list[int]


def parse_annotated(text: str, params: TextFeatures) -> AnnotatedWords:
    """The first `params.length` words of a text and what the model says of them; it does not see the others.

    A placeholder is one word, and its own lemma. A word without a lemma is its own, one without a part of speech is X.
    """
    assert params.model is not None
    nlp = load_model(params.model, params.annotate)
    with nlp.memory_zone():  # the strings of a model are not made anew in 0.4 s
        doc = split_document(text, params.length, nlp)
        if len(doc):
            for _, component in nlp.pipeline:
                doc = component(doc)
        return {
            "words": [_fold(token.text, params) for token in doc],
            "lemmas": [_find_lemma(token, params) for token in doc],
            "pos": [TAGS.index(token.pos_) + 1 if token.pos_ in TAGS else OTHER for token in doc],
        }


def split_document(text: str, length: int, nlp: "Language") -> "Doc":
    """The first `length` words and marks of `text` by the pipeline's tokenizer, without white space."""
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
        token.norm_ = norm  # the tokenizer's own, such as `not` of `n't`: models look at it
    return doc


def _fold(word: str, params: TextFeatures) -> str:
    return word.lower() if params.lowercase and word not in PLACEHOLDERS else word


def _find_lemma(token: "Token", params: TextFeatures) -> str:
    return token.text if token.text in PLACEHOLDERS else _fold(token.lemma_ or token.text, params)


@cache
def load_model(model: str, annotate: tuple[str, ...]) -> "Language":
    """The pipeline, on the CPU, without what is of no use here.

    Raises:
        InputError: it is not there, cannot be loaded, or sets nothing of what is to be annotated; the message names
            the setting.
    """
    describe_model(model)
    import spacy

    try:
        nlp = spacy.load(Path(model) if is_folder(model) else model, exclude=NEEDLESS)
    except (ImportError, OSError, ValueError, KeyError) as error:
        raise InputError(f"extract.text.model: spaCy {spacy.__version__} cannot load {model!r}: {error}") from error
    for name in annotate:
        if not any(_sets(nlp, component, name) for component in nlp.pipe_names):
            there = ", ".join(nlp.pipe_names) or "no components"
            raise InputError(f"extract.text.annotate has {name!r}, which {model!r} with {there} does not set")
    return nlp


def _sets(nlp: "Language", component: str, annotation: str) -> bool:
    meta = nlp.get_pipe_meta(component)
    return meta.factory in SETTERS[annotation] or f"token.{annotation}" in meta.assigns


def describe_model(model: str) -> dict[str, str]:
    """Of the pipeline and of what it computes with the versions, by name; of a folder also the sha256 of its files.

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
    """Whether a folder is named, and not a package."""
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
        raise InputError(f"extract.text.model is {name!r}, a package that is no pipeline of spaCy")
    return {name: found.version}


def _describe_folder(folder: Path) -> dict[str, str]:
    try:
        meta = decode_json((folder / "meta.json").read_bytes())
        name, version = f"{meta['lang']}_{meta['name']}", str(meta["version"])
    except (OSError, FormatError, KeyError, TypeError):
        raise InputError(f"extract.text.model: {folder} is no folder that spaCy's `nlp.to_disk` wrote") from None
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {name: f"{version}, files {digest.hexdigest()}"}
