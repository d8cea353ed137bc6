"""Build the multimodal model: a trunk of an encoder a part and a fusion, and the head of a task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor, nn

from pipeline.models.encoders.build import build_encoder
from pipeline.models.encoders.encoded_part import EncodedPart, mean_items
from pipeline.models.encoders.layers import find_valid
from pipeline.models.fusions.table import FUSIONS
from pipeline.models.inputs import PartInput, read_values
from pipeline.models.record import Architecture

if TYPE_CHECKING:
    from pipeline.tasks.task import Plan, Task


@dataclass(frozen=True)
class Features:
    """What the trunk gives of a batch.

    Attributes:
        encoded: of each part, in the order of the inputs; arbitrary where a sample lacks the part.
        present: which parts count, (batch, parts) bool.
        fused: (batch, width) float32; None without a fusion.
    """

    encoded: Sequence[EncodedPart]
    present: Tensor
    fused: Tensor | None

    @property
    def pooled(self) -> Tensor:
        """The embeddings of the parts, (batch, parts, width), zeros where a sample lacks the part."""
        return stack_pooled(self.encoded, self.present)


class Model(nn.Module):
    """Maps a batch, a dict with a tensor a field, samples first, to outputs. It reads the fields of its inputs, and
    those that the task's head reads.

    A part that a sample lacks does not influence its outputs. Where a part has several items, its embedding is the mean
    of theirs.
    """

    def __init__(self, architecture: Architecture, task: "Task[Any]", plan: "Plan") -> None:
        super().__init__()
        self.inputs = architecture.inputs
        self.task, self.plan = task, plan
        self.width, self.dropout = architecture.width, architecture.dropout
        self.encoders = nn.ModuleList(  # not by name: a dict of modules refuses the names of its own methods
            build_encoder(
                source, self.width, architecture.encoders[source.modality], architecture.sizes.get(source.modality, {})
            )
            for source in self.inputs
        )
        if architecture.fusion is not None:
            self.fusion = build_fusion(architecture.fusion, self)
        self.head = task.build_head(plan, self)

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation; encoders that are frozen stay in evaluation."""
        super().train(mode)
        for module in self.modules():
            if getattr(module, "frozen", False):
                module.eval()
        return self

    @property
    def channels(self) -> list[int]:
        """How many channels the tokens of each part have; those of an encoder without tokens are its embedding."""
        return [getattr(encoder, "channels", self.width) for encoder in self.encoders]

    def encode(self, batch: Mapping[str, Tensor]) -> list[EncodedPart]:
        """Return what the encoder of each part gives, in the order of the inputs; arbitrary where a sample lacks it. A
        head that has a method `hide` says what of the batch they see."""
        hide = getattr(self.head, "hide", None)
        batch = batch if hide is None else hide(batch)
        return [encode_part(encoder, source, batch) for source, encoder in zip(self.inputs, self.encoders, strict=True)]

    def embed(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return an embedding a part, (batch, width) float32; arbitrary where a sample lacks the part."""
        parts = [source.part for source in self.inputs]
        return {part: encoded.pooled for part, encoded in zip(parts, self.encode(batch), strict=True)}

    def find_present(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Return which parts each sample has, (batch, parts) bool."""
        columns = []
        for source in self.inputs:
            samples = batch[source.field]
            everywhere = torch.ones(len(samples), dtype=torch.bool, device=samples.device)
            there = everywhere if source.present is None else batch[source.present] != 0
            columns.append(there.reshape(len(samples), -1).any(1))
        return torch.stack(columns, dim=1)

    def fuse(self, encoded: Sequence[EncodedPart], present: Tensor) -> Features:
        """Fuse the embeddings of the parts that are `present` (batch, parts)."""
        if not hasattr(self, "fusion"):
            return Features(encoded, present, None)
        pooled = stack_pooled(encoded, present)
        tokens = (encoded,) if reads_tokens(self.fusion) else ()
        return Features(encoded, present, self.fusion(pooled, present, *tokens))

    def predict(self, encoded: Sequence[EncodedPart], present: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the outputs of the head, float32, samples first, from encoded parts: cheap beside the encoders."""
        outputs: Tensor = self.head(self.fuse(encoded, present), batch)
        return outputs

    def forward(self, batch: Mapping[str, Tensor], present: Tensor | None = None) -> Tensor:
        """Return the outputs of the head. `present` hides parts of the batch; None shows all."""
        return self.predict(self.encode(batch), self.find_present(batch) if present is None else present, batch)


def build_fusion(name: str, model: Model) -> nn.Module:
    """Return the fusion of this name for the encoders of a model."""
    build = FUSIONS[name]
    channels = (model.channels,) if reads_tokens(build) else ()
    return build(len(model.inputs), model.width, *channels)


def reads_tokens(fusion: object) -> bool:
    """Return whether a fusion, or its class, reads the tokens of the parts beside their embeddings."""
    return getattr(fusion, "reads_tokens", False) is True


def stack_pooled(encoded: Sequence[EncodedPart], present: Tensor) -> Tensor:
    """Return the embeddings of parts, (batch, parts, width), zeros where `present` (batch, parts) is false."""
    stacked = torch.stack([each.pooled for each in encoded], dim=1)
    return stacked.masked_fill(~present.unsqueeze(2), 0)  # a fill, not a product: 0 × NaN is NaN


def encode_part(encoder: nn.Module, source: PartInput, batch: Mapping[str, Tensor]) -> EncodedPart:
    """Return what the encoder gives of a part; of several items the mean of those that a sample has, and all their
    tokens.

    The encoder sees these items alone: no other entry can change a bit of the embeddings or of the gradients. Where a
    part has one item, an encoder sees blank ones too, unless samples influence each other.
    """
    values, length = read_values(batch, source), None if source.length is None else batch[source.length]
    if source.count is not None:
        there = find_valid(values, batch[source.count])
    elif source.present is not None and encoder.training and mixes_samples(encoder):
        there = (batch[source.present] != 0).unsqueeze(1)
        values, length = values.unsqueeze(1), None if length is None else length.unsqueeze(1)
    else:
        return EncodedPart.read(encoder(values, length))
    if not there.any():
        return encode_nothing(encoder, values[:, 0], None if length is None else length[:, 0])
    return mean_items(EncodedPart.read(encoder(values[there], None if length is None else length[there])), there)


def encode_nothing(encoder: nn.Module, values: Tensor, length: Tensor | None) -> EncodedPart:
    """Return zeros for samples that all lack the part, such that all parameters have gradients, of zero.

    Not every encoder takes an empty batch, so it sees one blank item; not in training where it would learn from that.
    """
    training = [module for module in encoder.modules() if module.training]
    if mixes_samples(encoder):
        encoder.eval()
    blank = encoder(torch.zeros_like(values[:1]), None if length is None else length.new_zeros(1))
    for module in training:
        module.training = True
    return EncodedPart.read(blank).blank(len(values))


def mixes_samples(encoder: nn.Module) -> bool:
    """Return whether samples influence each other in training, as by a batch norm."""
    return getattr(encoder, "mixes_samples", False) is True
