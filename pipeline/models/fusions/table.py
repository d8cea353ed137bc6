"""List the fusions by name. To add one: a file in this folder, and a line here.

A fusion is built as `Fusion(modalities, width)` from the number of modalities and the width of the embeddings. The
module that comes of it maps `embeddings` (batch, modalities, width) float32 and `present` (batch, modalities) bool to
(batch, width). The embedding of a modality that is not present is zeros (`Model.fuse` sees to it), so that nothing of
it can get through. A sample may have no modality at all.
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
