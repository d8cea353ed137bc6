"""Plan and fill the arrays of a text: its token ids and annotations."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.modalities.modality import Encoded, TokenTally
from pipeline.modalities.text.params import TextFeatures
from shardwright.format.field import Field

PAD, UNKNOWN = "<pad>", "<unk>"
SPECIAL_WORDS = (PAD, UNKNOWN)
"""The tokens 0 and 1."""


def plan_text_fields(params: TextFeatures) -> Mapping[str, Field]:
    """Return the fields of a text; `length` and `dtype` are those of the params.

    `tokens`: (length,), axes T, padded with 0; `tokens_length`: int32, tokens of the text, cut at length.
    `lemmas`, if annotated: as `tokens`, the ids of the words' lemmas, in the same vocabulary.
    `pos`, if annotated: uint8 (length,), axes T, the words' universal parts of speech. 0 is padding; from 1 on come
    ADJ, ADP, ADV, AUX, CCONJ, DET, INTJ, NOUN, NUM, PART, PRON, PROPN, PUNCT, SCONJ, SYM, VERB, X, in the order of
    `annotations.TAGS`.

    Both are aligned with `tokens`, so `tokens_length` holds for them too.
    """
    ids = Field(params.dtype, (params.length,), axes="T", unit="id", padding=0)
    fields = {"tokens": ids, "tokens_length": Field("int32", (), unit="tokens")}
    if "lemma" in params.annotate:
        fields["lemmas"] = Field(params.dtype, (params.length,), axes="T", unit="id")
    if "pos" in params.annotate:
        fields["pos"] = Field("uint8", (params.length,), axes="T", unit="universal part of speech, ADJ 1 to X 17")
    return fields


def fill_tokens(ids: Sequence[int], params: TextFeatures, unknown: int | None = None) -> Encoded:
    """Return `tokens` and `tokens_length` of the first `params.length` ids; the tally counts the id `unknown`."""
    cut = ids[: params.length]
    arrays = {"tokens": pad(cut, params, params.dtype), "tokens_length": np.array(len(cut), np.int32)}
    lost = 0 if unknown is None else cut.count(unknown)
    return Encoded(arrays, TokenTally(1, len(ids) > params.length, len(cut), lost))


def pad(values: Sequence[int], params: TextFeatures, dtype: str) -> NDArray[Any]:
    """Return at most `params.length` values, padded with zeros."""
    padded = np.zeros(params.length, dtype)
    padded[: len(values)] = values
    return padded
