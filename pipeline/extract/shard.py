"""Makes one shard: a task of its own, a pure function of the items' bytes and the recipe."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.extract.fields import FieldPlan
from pipeline.extract.learn import read_item
from pipeline.extract.meta import describe_sample
from pipeline.extract.moments import Moments, has_moments, measure, start_moments
from pipeline.extract.samples import AlignedSample
from pipeline.modalities.modality import Item
from pipeline.modalities.table import MODALITIES
from pipeline.records import Drop, Reason, Rejection
from pipeline.store import TarReader
from shardwright.canonical import decode_json
from shardwright.encode import EncodedSample, Sample, WrittenShard, encode_sample, join_samples, write_encoded
from shardwright.field import Field

Array = NDArray[Any]


@dataclass(frozen=True)
class Learned:
    """A file with what a modality learned: too large to send with each task, read once a process."""

    modality: str
    path: Path
    sha256: str


@dataclass(frozen=True)
class Recipe:
    """What is the same for all shards: the fields, and what was learned, if anything was."""

    plan: FieldPlan
    learned: Learned | None


@dataclass(frozen=True)
class ShardTask:
    """One shard to make: `path` is its file, `data` the data folder; `moments` asks for sums for the statistics."""

    path: Path
    data: Path
    samples: tuple[AlignedSample, ...]
    recipe: Recipe
    moments: bool

    @property
    def name(self) -> str:
        """The name of the shard's file."""
        return self.path.name


@dataclass(frozen=True)
class ShardResult:
    """What became of a task: the shard, or None if no sample was left for it; what was dropped; the sums."""

    written: WrittenShard | None
    drops: tuple[Drop, ...]
    moments: Mapping[str, Moments]


def extract_shard(task: ShardTask) -> ShardResult:
    """Make the shard and write it, whole or not at all."""
    fields = task.recipe.plan.fields
    moments = {name: start_moments(field) for name, field in fields.items() if task.moments and has_moments(field)}
    encoded: list[EncodedSample] = []
    drops: list[Drop] = []
    with TarReader(task.data) as reader:
        for sample in task.samples:
            with _name_sample(sample.key):
                items = {name: read_item(part, reader) for name, part in sample.parts.items()}
                arrays = extract_sample(sample, items, task.recipe)
                if isinstance(arrays, Rejection):
                    drops.append(arrays.drop(sample.key))
                    continue
                meta = describe_sample(sample, read_caption(items))
                encoded.append(encode_sample(fields, Sample(sample.key, arrays, meta)))
                for name in find_present(sample, task.recipe.plan) & moments.keys():
                    moments[name] = moments[name].add(measure(cut_padding(name, arrays)))
    if not encoded:
        return ShardResult(None, tuple(drops), moments)
    task.path.parent.mkdir(parents=True, exist_ok=True)
    return ShardResult(write_encoded(task.path, join_samples(fields, encoded)), tuple(drops), moments)


@contextmanager
def _name_sample(key: str) -> Iterator[None]:
    """What is raised inside passes through and says at which sample."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"at sample {key}")
        raise


def extract_sample(sample: AlignedSample, items: Mapping[str, Item], recipe: Recipe) -> dict[str, Array] | Rejection:
    """An array for every field of the plan, or why there is none."""
    plan = recipe.plan
    arrays: dict[str, Array] = {}
    for name, own in plan.modalities.items():
        fields = {field: plan.fields[field] for field in own}
        if name not in items:
            arrays.update({field: np.zeros(spec.shape, spec.dtype) for field, spec in fields.items()})
            continue
        learned = read_learned(recipe.learned) if recipe.learned and recipe.learned.modality == name else None
        extracted = MODALITIES[name].extract(items[name], plan.params[name], learned)
        checked = extracted if isinstance(extracted, Rejection) else check_arrays(extracted, fields)
        if isinstance(checked, Rejection):
            return replace(checked, detail=f"{name}: {checked.detail}")
        arrays.update(checked)
    for name in plan.optional:
        arrays[f"{name}_present"] = np.array(name in items, np.uint8)
    if plan.classes is not None:
        arrays["label"] = np.array(plan.classes.index(sample.label or ""), np.int64)
    return arrays


def check_arrays(arrays: Mapping[str, Array], fields: Mapping[str, Field]) -> Mapping[str, Array] | Rejection:
    """The arrays, if they are what their fields say and their floats are finite; else what is wrong with the first."""
    if arrays.keys() != fields.keys():
        return Rejection(Reason.BROKEN, "the extractor gave other fields", ", ".join(arrays), ", ".join(fields))
    for name, field in fields.items():
        found, wanted = f"{arrays[name].dtype} {arrays[name].shape}", f"{field.dtype} {field.shape}"
        if found != wanted:
            return Rejection(Reason.BROKEN, f"the extractor gave another dtype or shape of {name}", found, wanted)
        if field.dtype.startswith("float") and not np.isfinite(arrays[name]).all():
            return Rejection(Reason.NONFINITE, f"{name} has values that are NaN or infinite")
    return arrays


def find_present(sample: AlignedSample, plan: FieldPlan) -> set[str]:
    """The fields of the modalities that the sample has."""
    return {field for modality in sample.parts for field in plan.modalities[modality]}


def cut_padding(name: str, arrays: Mapping[str, Array]) -> Array:
    """The array of a field; of a ragged one, what is there."""
    length = arrays.get(f"{name}_length")
    return arrays[name] if length is None else arrays[name][: int(length)]


def read_caption(items: Mapping[str, Item]) -> str | None:
    """The sample's text, for people; None where it has none."""
    texts = (item.data.decode(errors="replace") for item in items.values() if item.media_type.startswith("text/"))
    return next(texts, None)


@lru_cache(maxsize=1)
def read_learned(learned: Learned) -> Any:
    """What was learned: JSON."""
    return decode_json(learned.path.read_bytes())
