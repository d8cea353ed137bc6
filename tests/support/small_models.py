"""Make small models of every encoder and fusion, and edit the records of models."""

import json
from pathlib import Path
from typing import Any

import torch

from pipeline.models.model import Model
from pipeline.models.record import RECORD_NAME, Architecture
from pipeline.tasks.classification import CLASSIFICATION, ClassPlan
from shardwright.format.canonical_json import encode_canonical, hash_canonical
from tests.support.model_inputs import FIRST, INPUTS, MODALITIES, SMALL

PLAN = ClassPlan(MODALITIES, ("a", "b", "c", "d", "e"), (1, 1, 1, 1, 1))


def make_architecture(fusion: str = "concat", encoders: dict[str, str] | None = None) -> Architecture:
    inputs = tuple(INPUTS[modality] for modality in MODALITIES)
    names = {**FIRST, **(encoders or {})}
    sizes = {modality: SMALL.get(name, {}) for modality, name in names.items()}
    return Architecture(inputs, names, 12, fusion, 0.0, sizes)


def make_model(fusion: str = "concat", encoders: dict[str, str] | None = None, seed: int = 0) -> Model:
    torch.manual_seed(seed)
    return Model(make_architecture(fusion, encoders), CLASSIFICATION, PLAN).eval()


def edit_record(folder: Path, **changes: Any) -> None:
    """Change `model.json`, and its hash accordingly."""
    document = json.loads((folder / RECORD_NAME).read_bytes()) | changes
    document.pop("hash")
    (folder / RECORD_NAME).write_bytes(encode_canonical(document | {"hash": hash_canonical(document)}))
