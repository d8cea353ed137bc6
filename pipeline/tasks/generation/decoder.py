"""Decode a text: a transformer that attends to what the trunk gives of the parts (Vaswani et al. 2017)."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipeline.models.model import Features
from pipeline.tasks.generation.beam_search import BeamSearch
from pipeline.tasks.generation.plan import GenerationPlan
from pipeline.tasks.generation.targets import read_texts

if TYPE_CHECKING:
    from pipeline.models.model import Model


class DecoderLayer(nn.Module):
    """Attention to the tokens before, attention to the memory, and a hidden layer; each normalizes first (Xiong et al.
    2020)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.text_inlet, self.text_outlet = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.query, self.memory_inlet = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.memory_outlet = nn.Linear(width, width)
        self.hidden = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """Return (batch, texts, steps, width) of the same; `memory` is (batch, length, width), of which all texts of a
        sample see what is `visible`, (batch, length) bool."""
        own = self.text_inlet(self.norms[0](values)).flatten(0, 1)
        attended = self._attend(own.chunk(3, dim=2), None).view_as(values)
        values = values + self.dropout(self.text_outlet(attended))
        queries = self.query(self.norms[1](values)).flatten(1, 2)
        attended = self._attend((queries, *self.memory_inlet(memory).chunk(2, dim=2)), visible).view_as(values)
        values = values + self.dropout(self.memory_outlet(attended))
        added: Tensor = self.dropout(self.hidden(self.norms[2](values)))
        return values + added

    def _attend(self, sequences: Sequence[Tensor], visible: Tensor | None) -> Tensor:
        """Return (batch, steps, width) of queries, keys and values, each (batch, steps, width): for each query the
        values that it attends to, of those that are `visible` (batch, steps), or else of those up to its own step."""
        queries, keys, values = (each.view(*each.shape[:2], self.heads, -1).transpose(1, 2) for each in sequences)
        mask = None if visible is None else visible[:, None, None]
        attended = functional.scaled_dot_product_attention(queries, keys, values, mask, is_causal=visible is None)
        return attended.transpose(1, 2).flatten(2)


class TextHead(nn.Module):
    """A decoder of the target's tokens.

    The memory is the fused embedding, which is always there, and the tokens of each part that is present, each with an
    embedding of its part. The fused embedding is added to each token of a text too: among dozens of tokens of the
    memory it is hardly attended to in a short training. Tokens have the same embeddings as inputs and as outputs (Press
    and Wolf 2017).
    """

    def __init__(self, plan: GenerationPlan, model: "Model") -> None:
        super().__init__()
        width = plan.width
        self.plan = plan
        self.narrow = nn.ModuleList(
            nn.Sequential(nn.Linear(channels, width), nn.LayerNorm(width))
            for channels in (model.width, *model.channels)
        )
        self.parts = nn.Parameter(0.02 * torch.randn(len(self.narrow), width))
        self.words = nn.Embedding(plan.tokens, width)
        nn.init.normal_(self.words.weight, std=width**-0.5)  # so that logits begin at a scale of 1
        self.positions = nn.Parameter(0.02 * torch.randn(plan.steps, width))
        self.dropout = nn.Dropout(model.dropout)
        self.layers = nn.ModuleList(DecoderLayer(width, plan.heads, model.dropout) for _ in range(plan.layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(plan.tokens))

    def read_memory(self, features: Features) -> tuple[Tensor, Tensor]:
        """Return the memory (batch, length, width), and which of it counts, (batch, length) bool."""
        assert features.fused is not None, "the task fuses"
        values, visible = [features.fused.unsqueeze(1)], [torch.ones_like(features.present[:, :1])]
        for part, each in enumerate(features.encoded):
            valid = each.valid & features.present[:, part : part + 1]
            values.append(each.tokens.masked_fill(~valid.unsqueeze(2), 0))  # a weight of 0 × NaN is NaN
            visible.append(valid)
        read = [narrow(each) + part for narrow, each, part in zip(self.narrow, values, self.parts, strict=True)]
        return torch.cat(read, dim=1), torch.cat(visible, dim=1)

    def decode(self, tokens: Tensor, memory: Tensor, visible: Tensor) -> Tensor:
        """Return a vector (batch, texts, steps, width) for each of `tokens` (batch, texts, steps), which depends on
        those before it."""
        words = self.words(tokens) * self.plan.width**0.5 + self.positions[: tokens.shape[2]]
        values = self.dropout(words + memory[:, None, :1])
        for layer in self.layers:
            values = layer(values, memory, visible)
        normed: Tensor = self.norm(values)
        return normed

    def score_tokens(self, values: Tensor) -> Tensor:
        """Return the logits of the token after each vector (…, width): (…, tokens)."""
        return functional.linear(values, self.words.weight, self.bias)

    def forward(self, features: Features, batch: Mapping[str, Tensor]) -> Tensor:
        """Return the logits of each token of the true texts, given those before it, (batch, texts, steps, tokens)."""
        tokens, _ = read_texts(self.plan, batch)
        before = torch.cat([torch.full_like(tokens[..., :1], self.plan.begin), tokens[..., :-1]], dim=2)
        return self.score_tokens(self.decode(before, *self.read_memory(features)))

    def generate(self, features: Features) -> Tensor:
        """Return a text of each sample, int64 (batch, longest), with the end token to its end."""
        plan = self.plan
        memory, visible = self.read_memory(features)

        def score_next(texts: Tensor) -> Tensor:
            logits = self.score_tokens(self.decode(texts, memory, visible)[:, :, -1]).float()
            logits[..., [*plan.silent, plan.begin]] = float("-inf")
            return logits.log_softmax(2)

        search = BeamSearch(plan.begin, plan.end, plan.beam, plan.longest, plan.length_penalty)
        return search.run(score_next, memory)[0]
