"""Define the block `extract.text`."""

from typing import Annotated, Literal, Self

from pydantic import Field as Limits
from pydantic import model_validator

from pipeline.config.params import OneOf, Params, Share
from pipeline.modalities.text.tokenizer_table import TOKENIZERS

LanguageCode = Annotated[str, Limits(pattern=r"^[a-z]{2,3}$")]
AUTO = "auto"
Annotation = Literal["lemma", "pos"]

BYTES = 256
"""Byte pair encoding starts from a token for each byte."""

SPECIAL = 4
"""At most so many tokens come on top of `vocabulary`: padding, unknown, and the placeholders."""

MAX_UINT16 = 65_536
"""Different ids that uint16 holds."""


class FrozenVocabulary(Params):
    """A copy of a `5_shards/vocabulary.json` or `tokenizer.json` that this stage wrote; for `bpe` also any byte-level
    BPE `tokenizer.json` of Hugging Face, for `file` any at all."""

    path: Annotated[str, Limits(min_length=1)]
    """Path of the file."""
    sha256: Annotated[str, Limits(pattern="^[0-9a-f]{64}$")]
    """Hash of the file, which is refused with any other content."""


class TextFeatures(Params):
    """How texts are stored in the shards."""

    late_keys = ("min_known",)

    tokenizer: Annotated[str, OneOf(TOKENIZERS, plugins=True)] = "words"
    """`words`: tokens are words of spaCy's; `bpe`: runs of bytes, by GPT-2's byte pair encoding, which encodes any
    text; `file`: those of the `tokenizer.json` that `frozen` names, with its marks of start and end, as the model that
    it belongs to expects; `plugins/<file>.py:<Name>`: those of a `Tokenizer` of your own."""
    language: Literal["auto"] | LanguageCode = "en"
    """spaCy's code of the language whose tokenizer is used; `xx` is the language-independent one. `auto`: that of each
    text, and `xx` where it is unknown or spaCy does not have it. Chinese characters are a word each."""
    fallback: LanguageCode | None = None
    """Language to use if a package that a language's tokenizer needs is not installed; null: that is an error."""
    lowercase: bool = True
    """Words are counted and looked up in lower case. With `file` its own rules hold."""
    length: Annotated[int, Limits(ge=1, le=65536)] = 32
    """Tokens; longer texts are cut, shorter ones padded."""
    dtype: Literal["int32", "uint16"] = "int32"
    """Of the ids. uint16 takes half the bytes, and is refused where the vocabulary is too large for it."""
    vocabulary: Annotated[int, Limits(ge=1, le=10_000_000)] = 4000
    """Words at most, the most frequent ones; padding and unknown come on top. Of `bpe` tokens, 256 of them bytes; the
    placeholders come on top too."""
    min_count: Annotated[int, Limits(ge=1)] = 2
    """Occurrences in the training split below which a word is unknown; of `bpe`, a pair of tokens is not made one."""
    min_known: Share = 0.5
    """Share of the words of the training split that the vocabulary must have; fewer stop the run."""
    frozen: FrozenVocabulary | None = None
    """A vocabulary to use instead of learning one: new texts then change no other text's ids."""
    model: Annotated[str, Limits(min_length=1)] | None = None
    """A trained pipeline of spaCy for `annotate`, never downloaded: the name of an installed package, or a folder, with
    a slash in it (`./model`), which DVC does not watch. Its tokenizer is used in place of that of `language`."""
    annotate: Annotated[tuple[Annotation, ...], Limits(strict=False)] = ()
    """Annotations of each word by `model`: `lemma` fills the field `lemmas`, `pos` the field `pos`."""

    @model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.tokenizer != "words" and self.annotate:
            clause = f"it must be empty, as tokenizer is {self.tokenizer}: annotations are of words"
            raise self.refuse("annotate", clause)
        if self.tokenizer == "file" and self.frozen is None:
            raise self.refuse("frozen", "it must name a tokenizer.json, as tokenizer is file")
        if self.tokenizer == "bpe" and self.vocabulary < BYTES:
            raise self.refuse("vocabulary", f"it must be at least {BYTES}, as tokenizer is bpe: a token a byte")
        if len(set(self.annotate)) < len(self.annotate):
            raise self.refuse("annotate", "it must be a list without repeats")
        if self.annotate and self.model is None:
            raise self.refuse("model", "it must name a pipeline of spaCy, as annotate is set")
        if self.model is not None and not self.annotate:
            raise self.refuse("annotate", "it must name at least one annotation, as model is set")
        if self.dtype == "uint16" and self.frozen is None and self.vocabulary + SPECIAL > MAX_UINT16:
            raise self.refuse("vocabulary", f"it must be at most {MAX_UINT16 - SPECIAL}, as dtype is uint16")
        return self
