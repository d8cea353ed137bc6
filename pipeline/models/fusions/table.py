"""List the fusions by name. To add one: a file in this folder, and a line here.

A fusion is built as `Fusion(parts, width)` from the number of parts and the width of the embeddings. The
module that comes of it maps `embeddings` (batch, parts, width) float32 and `present` (batch, parts) bool to
(batch, width). The embedding of a part that is not present is zeros (`Model.fuse` sees to it), so that nothing of
it can get through. A sample may have no part at all.

A fusion that reads the tokens of the parts says `reads_tokens = True`. It is built as `Fusion(parts, width, channels)`,
with the channels of each part's tokens, and maps (embeddings, present, encoded), with an `EncodedPart` a part.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from torch import nn

BuildFusion: TypeAlias = "Callable[..., nn.Module]"

FUSIONS: LazyTable[BuildFusion] = LazyTable(
    {
        "early": LazyObject("pipeline.models.fusions.early:Early"),
        "concat": LazyObject("pipeline.models.fusions.concat:Concat"),
        "mean": LazyObject("pipeline.models.fusions.mean:Mean"),
        "weighted": LazyObject("pipeline.models.fusions.weighted:Weighted"),
        "late_logits": LazyObject("pipeline.models.fusions.late_logits:LateLogits"),
        "gated": LazyObject("pipeline.models.fusions.gated:Gated"),
        "attention": LazyObject("pipeline.models.fusions.attention:Attention"),
        "cross_attention": LazyObject("pipeline.models.fusions.cross_attention:CrossAttention"),
        "tensor": LazyObject("pipeline.models.fusions.tensor:TensorFusion"),
        "low_rank": LazyObject("pipeline.models.fusions.low_rank:LowRank"),
    }
)
