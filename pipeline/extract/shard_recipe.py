"""The inputs that all shards of a dataset share: fields, vocabulary, and how shards are assembled."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.read_features import Extractor
from shardwright.format.canonical_json import decode_json


@dataclass(frozen=True)
class Learned:
    """The vocabulary file of a modality: too large to send with each task, read once in each process."""

    modality: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """What all shards share: the fields, the vocabulary if there is one, and a hash of both and of how shards are
    assembled."""

    plan: FieldPlan
    learned: Learned | None
    assembly: bytes

    @property
    def extractors(self) -> dict[str, Extractor]:
        """The extractor of each modality in use."""
        plan = self.plan
        return {name: Extractor(name, plan.params[name], plan.modality_fields(name)) for name in plan.modalities}


@lru_cache(maxsize=1)
def read_learned(learned: Learned) -> Any:
    """Return the learned vocabulary as JSON values."""
    return decode_json(learned.path.read_bytes())
