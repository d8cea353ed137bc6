"""What all shards of a dataset have in common."""

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.read_features import Extractor
from shardwright.format.canonical_json import decode_json


@dataclass(frozen=True)
class Learned:
    """A file with what a modality learned: too large to send with each task, read once a process."""

    modality: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """What is the same for all shards: the fields, what was learned, if anything was, and a hash of both and of how
    shards are put together."""

    plan: FieldPlan
    learned: Learned | None
    assembly: bytes

    @property
    def extractors(self) -> dict[str, Extractor]:
        """Of the modalities in use."""
        plan = self.plan
        return {name: Extractor(name, plan.params[name], plan.own_fields(name)) for name in plan.modalities}


@lru_cache(maxsize=1)
def read_learned(learned: Learned) -> Any:
    """What was learned: JSON."""
    return decode_json(learned.path.read_bytes())
