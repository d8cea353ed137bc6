"""Make inputs of all modalities for encoders: small, of different lengths, some without a part."""

from typing import Any

import torch
from torch import Tensor

from pipeline.models.encoders.table import ENCODERS
from pipeline.models.inputs import PartInput
from tests.support.factory_shards import WORDS

MODALITIES = tuple(ENCODERS)
CHOICES = [(modality, name) for modality, table in ENCODERS.items() for name in table]
SMALL: dict[str, dict[str, Any]] = {
    **{name: {"channels": [8] * 4} for name in ("resnet18", "resnet34", "resnet50")},
    **{name: {"channels": [8] * 5} for name in ("vgg11", "vgg16")},
    **{name: {"layers": 1} for name in ("vit", "transformer")},
    "transformers": {
        "config": {
            "model_type": "bert",
            "vocab_size": len(WORDS),
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
            "max_position_embeddings": 16,
        },
    },
}
"""Sizes of encoders that would take long."""
FIRST = {modality: next(iter(table)) for modality, table in ENCODERS.items()}

INPUTS = {
    "image": PartInput("image", "image", "image", (16, 16, 3), None, "image_present", (60.0,) * 3, (30.0,) * 3),
    "audio": PartInput("audio", "audio", "mfcc", (20, 8), "mfcc_length", "audio_present", (0.5,) * 8, (1.2,) * 8),
    "text": PartInput("text", "text", "tokens", (6,), "tokens_length", "text_present", words=len(WORDS)),
    "video": PartInput("video", "video", "video", (3, 16, 16, 3), None, "video_present", (60.0,) * 3, (30.0,) * 3),
    "vector": PartInput("vector", "vector", "image_vector", (10,), None, "vector_present"),
}


def make_batch(size: int, seed: int = 0) -> dict[str, Tensor]:
    """Samples of different lengths; some lack a modality."""
    rng = torch.Generator().manual_seed(seed)
    present = torch.ones(size, len(MODALITIES), dtype=torch.uint8)
    present[torch.arange(size), torch.arange(size) % 4 % len(MODALITIES)] = (torch.arange(size) % 4 == 3).to(
        torch.uint8
    )
    return {
        "image": torch.randint(0, 256, (size, 16, 16, 3), dtype=torch.uint8, generator=rng),
        "mfcc": torch.randn(size, 20, 8, generator=rng),
        "mfcc_length": torch.randint(1, 21, (size,), dtype=torch.int32, generator=rng),
        "tokens": torch.randint(0, len(WORDS), (size, 6), dtype=torch.int32, generator=rng),
        "tokens_length": torch.randint(1, 7, (size,), dtype=torch.int32, generator=rng),
        "video": torch.randint(0, 256, (size, 3, 16, 16, 3), dtype=torch.uint8, generator=rng),
        "image_vector": torch.randn(size, 10, generator=rng),
        **{f"{name}_present": present[:, number] for number, name in enumerate(MODALITIES)},
    }
