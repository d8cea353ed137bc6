"""List the fusions by name. To add one: a file in this folder, and a line here.

A fusion is built as `Fusion(parts, width)` from the number of parts and the width of the embeddings. The
module that comes of it maps `embeddings` (batch, parts, width) float32 and `present` (batch, parts) bool to
(batch, width). The embedding of a part that is not present is zeros (`Model.fuse` sees to it), so that nothing of
it can get through. A sample may have no part at all.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pipeline.config.lazy_import import LazyObject, LazyTable

if TYPE_CHECKING:
    from torch import nn

BuildFusion: TypeAlias = "Callable[[int, int], nn.Module]"

FUSIONS: LazyTable[BuildFusion] = LazyTable(
    {
        "concat": LazyObject("pipeline.models.fusions.concat:Concat"),
        "mean": LazyObject("pipeline.models.fusions.mean:Mean"),
        "attention": LazyObject("pipeline.models.fusions.attention:Attention"),
    }
)
