"""Fuse a batch with every subset of its parts, in few calls: small ones cost little more than large ones."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pipeline.models.encoders.encoded_part import EncodedPart
from pipeline.models.model import Features, Model, reads_tokens

MOST_NUMBERS = 1 << 20
"""Embeddings and tokens that are fused in one call, in numbers: 4 MB, however many subsets there are."""


def fuse_subsets(model: Model, encoded: Sequence[EncodedPart], shown: Sequence[Tensor]) -> Iterator[Features]:
    """Yield what `Model.fuse` gives of a batch with each of the masks in `shown`, (batch, parts) bool, in turn.

    Masks are stacked along the batch, as many as `MOST_NUMBERS` allow, so sums may be in another order: the values
    agree within float32's precision. They depend on nothing but the batch and the masks.
    """
    if not hasattr(model, "fusion"):
        yield from (model.fuse(encoded, present) for present in shown)
        return
    with_tokens = reads_tokens(model.fusion)
    numbers = sum(each.pooled.numel() + with_tokens * each.tokens.numel() for each in encoded)
    step = max(1, MOST_NUMBERS // max(1, numbers))
    for start in range(0, len(shown), step):
        masks = shown[start : start + step]
        stacked = [repeat_batch(each, len(masks), with_tokens) for each in encoded]
        fused = model.fuse(stacked, torch.cat([*masks])).fused
        assert fused is not None, "the model has a fusion"
        for present, rows in zip(masks, fused.chunk(len(masks)), strict=True):
            yield Features(encoded, present, rows)


def repeat_batch(encoded: EncodedPart, times: int, with_tokens: bool) -> EncodedPart:
    """Return what was encoded of a batch as often, (times × batch, …); `with_tokens` or with the embeddings alone."""
    kept = encoded if with_tokens else encoded[:1]
    repeated = [values.expand(times, *values.shape).flatten(0, 1) for values in kept]
    return EncodedPart(*repeated) if with_tokens else EncodedPart.read(*repeated)
