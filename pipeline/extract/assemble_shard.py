"""Assemble a shard from features."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from pipeline.errors import PipelineError
from pipeline.extract.cached_shards import BuiltShard, PlacedFeatures
from pipeline.extract.extractor import Extractor, Recipe, make_extractors
from pipeline.extract.feature_entry import Fields
from pipeline.extract.feature_reader import FeatureReader
from pipeline.extract.field_statistics import FieldMoments, sum_records
from pipeline.extract.learned_features import LearnedFeatures
from pipeline.extract.plan_fields import COUNT
from pipeline.extract.samples import AlignedSample, SamplePart, build_meta
from pipeline.incremental.pack_index import Entry
from pipeline.modalities.modality import TokenTally
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.stopwatch import OTHER, clock
from pipeline.tables.drops import Drop, Rejection
from shardwright.errors import DamageError
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.checksum import compute_crc32
from shardwright.format.encode import EncodedSample, ShardBuilder, write_encoded
from shardwright.format.field import Field
from shardwright.format.jpeg import encode_jpeg


class ShardAssembly:
    """Builds a shard of these samples, in their order.

    Args:
        recipe: what all shards share.
        samples: of the shard.
        lost: rejections of features that no worker can compute, by cache key.
        reader: of features.

    Attributes:
        features: those of the written samples by part, without learned ones, which belong to one vocabulary.
    """

    def __init__(
        self, recipe: Recipe, samples: Sequence[AlignedSample], lost: Mapping[bytes, Rejection], reader: FeatureReader
    ) -> None:
        self._recipe = recipe
        self._plan = plan = recipe.plan
        self._samples = samples
        self._lost = lost
        self._reader = reader
        self._extractors: Mapping[str, Extractor] = make_extractors(plan)
        self._learned = LearnedFeatures(recipe, self._extractors, reader)
        self._metas: dict[int, bytes] = {}
        self._padding = {name: encode_absent(plan.select_fields(name)) for name in {*plan.optional, *plan.most}}
        unlearned = (part for part, name in plan.modalities.items() if MODALITIES[name].learning is None)
        self.features = {part: PlacedFeatures() for part in unlearned}

    def write(self, path: Path, work: Path, moments: bool) -> BuiltShard:
        """Write the shard block by block, unless no sample is left, and read it back; with `moments`, sum values for
        the statistics.

        Raises:
            PipelineError: it reads back differently than it was written.
        """
        drops = self._settle()
        if not self._metas:
            return BuiltShard(None, drops)
        builder = ShardBuilder(self._plan.fields, max(map(len, self._metas.values())))
        draft = work / f"{path.parent.name}.draft" / path.name  # a killed process must leave no partial file
        for folder in (draft.parent, path.parent):
            folder.mkdir(exist_ok=True)
        with clock("write shard"):
            try:
                written = write_encoded(draft, builder, self._build(), read_back=True)
            except DamageError as error:
                raise PipelineError(str(error)) from None
            draft.replace(path)
        sums = dict[str, FieldMoments]()
        for part, features in self.features.items() if moments else ():
            own: Fields = self._extractors[self._plan.modalities[part]].fields
            names = dict(zip(own, self._plan.names[part], strict=True))
            sums |= {names[name]: each for name, each in sum_records(features.records, own).items()}
        return BuiltShard(written, drops, sums, self._sum_tallies())

    def _settle(self) -> list[Drop]:
        """Encode the metas of the samples to write, and return drops for the others: whose feature is rejected."""
        drops = []
        for at, sample in enumerate(self._samples):
            with _name_sample(sample.key):
                meta = self._encode_meta(sample)
            if isinstance(meta, Rejection):
                drops.append(meta.drop(sample.key))
            else:
                self._metas[at] = meta
        return drops

    def _encode_meta(self, sample: AlignedSample) -> bytes | Rejection:
        """Return the meta of a sample, or the first rejection of a part."""
        caption: str | None = None
        for name, modality in self._plan.modalities.items():
            for items in self._plan.group_items(name, sample.parts.get(name, ())):
                found = self._check(items, modality)
                if isinstance(found, Rejection):
                    setting = found.name_setting(f"extract.{modality}")
                    return replace(found, detail=f"{name}: {found.detail}", setting=setting)
                caption = caption or found
        return encode_canonical(build_meta(sample, caption))

    def _sum_tallies(self) -> TokenTally:
        """Return the tally of the learned features of the written samples."""
        learned = self._plan.modalities.keys() - self.features.keys()
        samples = (self._samples[at] for at in self._metas)
        parts = ((name, sample.parts.get(name, ())) for sample in samples for name in learned)
        groups = (items for name, each in parts for items in self._plan.group_items(name, each))
        return sum(map(self._learned.find_tally, groups), TokenTally())

    def _check(self, items: Sequence[SamplePart], modality: str) -> str | Rejection | None:
        """Return the rejection of the feature of a group of items; else the text for the meta, if it has one."""
        for item in items:
            if item.key in self._lost:
                return self._lost[item.key]
        if MODALITIES[modality].learning is not None:
            return self._learned.encode(items)
        (item,) = items
        if item.rejected or self._reader.pack.rejects(item.key):
            found = self._reader.read(self._extractors[modality], item)
            return found if isinstance(found, Rejection) else None
        return None

    def _build(self) -> Iterator[EncodedSample]:
        """Yield the samples of the shard, and note their features."""
        for row, (at, meta) in enumerate(self._metas.items()):
            sample = self._samples[at]
            with clock(OTHER), _name_sample(sample.key):
                contents = self._read_contents(row, sample)
            yield EncodedSample(sample.key, contents, list(map(compute_crc32, contents)), meta)

    def _read_contents(self, row: int, sample: AlignedSample) -> list[bytes]:
        """Return the contents of the members of a sample, in the order of the fields."""
        plan, contents = self._plan, list[bytes]()
        for name, modality in plan.modalities.items():
            parts = sample.parts.get(name, ())
            features = [self._read(row, items, modality) for items in plan.group_items(name, parts)]
            contents += self._stack(name, features)
            if name in plan.most:
                contents.append(_encode_scalar(COUNT, len(parts)))
        contents += (
            _encode_scalar(plan.fields[f"{name}_present"], int(name in sample.parts)) for name in plan.optional
        )
        if plan.classes is not None:
            contents.append(_encode_scalar(plan.fields["label"], plan.classes.index(sample.label or "")))
        return contents

    def _read(self, row: int, items: Sequence[SamplePart], modality: str) -> Sequence[bytes]:
        """Return the contents of the members of the feature of a group of items."""
        learned = self._learned.find(items)
        if learned is not None:
            return learned
        (item,) = items
        entry = self._reader.read(self._extractors[modality], item)
        assert isinstance(entry, Entry), "rejections were found before"
        self.features[item.name].add(row, entry)
        return entry.pieces

    def _stack(self, name: str, items: Sequence[Sequence[bytes]]) -> Sequence[bytes]:
        """Return the contents of a part's members from those of its features."""
        if name in self._plan.most:
            own = self._extractors[self._plan.modalities[name]].fields
            return stack_items(items, self._padding[name], own, self._plan.select_fields(name))
        assert len(items) <= 1, f"{name} has room for one item"
        return items[0] if items else self._padding[name]


def stack_items(
    items: Sequence[Sequence[bytes]], padding: Sequence[bytes], own: Fields, stacked: Fields
) -> list[bytes]:
    """Return the member contents of several items: an array a field, the items' values first, then padding.

    Args:
        items: the contents of each, in the order of the fields.
        padding: those of no item.
        own: the fields of one item.
        stacked: the fields of several, with an axis for them.
    """
    contents = []
    for number, (one, field, empty) in enumerate(zip(own.values(), stacked.values(), padding, strict=True)):
        values = [memoryview(item[number])[len(one.header) :] for item in items]
        rest = memoryview(empty)[len(field.header) + len(items) * one.nbytes :]
        contents.append(b"".join((field.header, *values, rest)))
    return contents


def encode_absent(fields: Fields) -> list[bytes]:
    """Return member contents for an absent part: padding or zeros; for JPEG fields, a black image."""
    # At quality 100 nothing is rounded, so it decodes to zeros.
    return [
        encode_jpeg(np.zeros(field.shape, np.uint8), 100)
        if field.varies
        else field.encode(np.full(field.shape, field.padding or 0, field.dtype))
        for field in fields.values()
    ]


@lru_cache(maxsize=4096)
def _encode_scalar(field: Field, value: int) -> bytes:
    return field.encode(value)


@contextmanager
def _name_sample(key: str) -> Iterator[None]:
    """Add the sample's key to exceptions raised inside."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"at sample {key}")
        raise
