"""Define the block `extract`: how shards are cut, and the features of each modality."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, field_validator

from pipeline.config.params import Params, Share, Strings, add_keys, describe_part
from pipeline.extract.vector_params import VectorParams
from pipeline.modalities.table import MODALITIES

MAX_SHARDS = 2**19
"""Of a split: the largest power of two that the six digits of a shard's name can count."""


@add_keys({name: describe_part(MODALITIES[name].feature_params, f"Fields of {name} items.") for name in MODALITIES})
class ExtractParams(Params):
    """How shards are cut, and the features of each modality; those that no sample has are not computed."""

    vectors: VectorParams = VectorParams()
    """Frozen encoders, by modality: the shards then hold the vector of each item too, such as `image_vector`."""
    shard_bytes: Annotated[int, Field(ge=4096, le=2**33)] = 16_777_216
    """Upper bound of the mean size of a split's shards; their number is the smallest power of two that keeps to it."""
    shards: Annotated[int, Field(ge=1, le=MAX_SHARDS)] | None = None
    """A fixed number of shards a split instead, a power of two; null: by `shard_bytes`."""
    classes: Annotated[Strings, Field(min_length=1)] | None = None
    """The labels in the order of their numbers; samples with others are dropped. Null: those found, in the order
    of their numbers if all are whole numbers (the manifest says so), else in code-point order."""
    max_dropped: Share = 0.1
    """Share of the samples that may be dropped; more stops the run."""

    @property
    def features(self) -> Mapping[str, Any]:
        """The params of each modality's features, by its name."""
        return {name: getattr(self, name) for name in MODALITIES}

    @field_validator("shards")
    @classmethod
    def _check_power(cls, shards: int | None) -> int | None:
        if shards is not None and shards & (shards - 1):
            raise ValueError("a power of two, so that doubling it splits each shard in two")
        return shards

    @field_validator("classes")
    @classmethod
    def _check_distinct(cls, classes: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if classes is not None and len(set(classes)) < len(classes):
            raise ValueError("a list without repeats")
        return classes
