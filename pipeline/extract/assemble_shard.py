"""Assemble a shard from cached samples and from features."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, replace
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from pipeline.errors import PipelineError
from pipeline.extract.cached_shards import SAMPLE, BuiltShard, CachedSamples, PlacedFeature, hash_sample
from pipeline.extract.extractor import Extractor, Recipe, make_extractors
from pipeline.extract.feature_entry import Fields
from pipeline.extract.feature_reader import FeatureReader
from pipeline.extract.field_statistics import FieldMoments, decode_moments, has_moments, start_moments
from pipeline.extract.learned_features import LearnedFeatures
from pipeline.extract.plan_fields import COUNT
from pipeline.extract.samples import AlignedSample, SamplePart, build_meta
from pipeline.incremental.pack_index import Array, Entry
from pipeline.modalities.modality import TokenTally
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.stopwatch import OTHER, clock
from pipeline.tables.drops import Drop, Rejection
from shardwright.errors import DamageError
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.encode import EncodedSample, PlacedSample, ShardBuilder, encode_members, write_encoded
from shardwright.format.field import Field
from shardwright.format.jpeg import encode_jpeg

Records: TypeAlias = Mapping[str, Sequence[bytes]]
"""The records of the features of a sample, by part."""


class ShardAssembly:
    """Builds a shard of these samples, in their order.

    Args:
        recipe: what all shards share.
        samples: of the shard.
        lost: rejections of features that no worker can compute, by cache key.
        reader: of features.
        cached: of samples.
    """

    def __init__(
        self,
        recipe: Recipe,
        samples: Sequence[AlignedSample],
        lost: Mapping[bytes, Rejection],
        reader: FeatureReader,
        cached: CachedSamples,
    ) -> None:
        plan = recipe.plan
        self._recipe = recipe
        self._plan = plan
        self._samples = samples
        self._lost = lost
        self._reader = reader
        self._cached = cached
        self._extractors: Mapping[str, Extractor] = make_extractors(plan.params, plan.params)
        self._keys = [hash_sample(recipe.assembly, sample) for sample in samples]
        self._learned = LearnedFeatures(recipe, self._extractors, reader)
        self._metas: dict[int, bytes] = {}
        self._tallies: dict[int, TokenTally] = {}
        self._copied: set[int] = set()  # whose metas are zeros of the right length here
        self._frames: list[int] = []
        self._features: list[PlacedFeature] = []
        padded = dict.fromkeys((*plan.optional, *plan.most))
        self._padding = {name: encode_absent(plan.select_fields(name)) for name in padded}

    def write(self, path: Path, work: Path, moments: bool) -> BuiltShard:
        """Write the shard sample by sample, unless no sample is left, and read it back; with `moments`, sum values for
        the statistics.

        Raises:
            PipelineError: it reads back differently than it was written.
        """
        drops = self._settle()
        fields = self._plan.fields
        sums = {name: start_moments(spec) for name, spec in fields.items() if moments and has_moments(spec)}
        if not self._metas:
            return BuiltShard(None, drops, sums)
        builder = ShardBuilder(fields, max(map(len, self._metas.values())))
        draft = work / f"{path.parent.name}.draft" / path.name  # a killed process must leave no partial file
        for folder in (draft.parent, path.parent):
            folder.mkdir(exist_ok=True)
        with clock("write shard"):
            try:
                written = write_encoded(draft, builder, self._build(builder.meta_bytes, sums), read_back=True)
            except DamageError as error:
                raise PipelineError(str(error)) from None
            draft.replace(path)
        self._frames = builder.frames
        return BuiltShard(written, drops, sums, sum(self._tallies.values(), TokenTally()))

    def list_samples(self) -> Array:
        """Return what the cache notes of the written samples, `SAMPLE` (samples,)."""
        table = np.zeros(len(self._metas), SAMPLE)
        if len(table):
            keys = b"".join(self._keys[at] for at in self._metas)
            table["key"] = np.frombuffer(keys, np.uint8).reshape(-1, 32)
            table["meta"] = [len(meta) for meta in self._metas.values()]
            table["frame"] = self._frames
            table["tally"] = [astuple(self._tallies[at]) for at in self._metas]
        return table

    def list_features(self) -> Sequence[PlacedFeature]:
        """Return the features of the written samples that can be taken from the shard."""
        return self._features

    def _settle(self) -> list[Drop]:
        """Encode the metas of the samples to write, and return drops for the others: whose feature is rejected."""
        drops = []
        for at, sample in enumerate(self._samples):
            known = None if self._is_lost(sample) else self._cached.measure_meta(self._keys[at])
            if known is not None:
                self._copied.add(at)
            meta = bytes(known) if known is not None else self._encode_meta(sample)
            if isinstance(meta, Rejection):
                drops.append(meta.drop(sample.key))
            else:
                self._metas[at] = meta
                self._tallies[at] = (
                    self._sum_tallies(sample) if known is None else self._cached.read_tally(self._keys[at])
                )
        return drops

    def _is_lost(self, sample: AlignedSample) -> bool:
        """Return whether a feature of the sample is lost: then it is dropped, also if the cache has the sample."""
        return bool(self._lost) and any(part.key in self._lost for parts in sample.parts.values() for part in parts)

    def _encode_meta(self, sample: AlignedSample) -> bytes | Rejection:
        """Return the meta of a sample, or the first rejection of a part."""
        caption: str | None = None
        with _name_sample(sample.key):
            for name, modality in self._plan.modalities.items():
                for items in self._plan.group_items(name, sample.parts.get(name, ())):
                    found = self._check(items, modality)
                    if isinstance(found, Rejection):
                        setting = found.name_setting(f"extract.{modality}")
                        return replace(found, detail=f"{name}: {found.detail}", setting=setting)
                    caption = caption or found
            return encode_canonical(build_meta(sample, caption))

    def _sum_tallies(self, sample: AlignedSample) -> TokenTally:
        """Return the tally of the learned features of a sample whose meta was encoded."""
        groups = (self._plan.group_items(name, items) for name, items in sample.parts.items())
        return sum((self._learned.find_tally(items) for each in groups for items in each), TokenTally())

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

    def _build(self, meta_bytes: int, sums: dict[str, FieldMoments]) -> Iterator[EncodedSample | PlacedSample]:
        """Yield the samples of a shard that pads its metas to `meta_bytes`; add their values to `sums`."""
        for row, at in enumerate(self._metas):
            sample = self._samples[at]
            with clock(OTHER), _name_sample(sample.key):
                with clock("read cache"):
                    built = self._cached.read(self._keys[at], meta_bytes)
                records = self._read_records(sample) if built is not None else None
                if built is None or records is None:  # not cached, or damaged there
                    built, records = self._build_sample(at, sample)
                self._note_features(row, sample, records)
                for name, moments in self._list_moments(records):
                    if name in sums:
                        sums[name] = sums[name].add(moments)
            yield built

    def _build_sample(self, at: int, sample: AlignedSample) -> tuple[EncodedSample, Records]:
        """Encode a sample from its features; return it, and the records of the features by part."""
        meta = self._metas[at]
        if at in self._copied:  # it was to be copied, and is damaged
            encoded = self._encode_meta(sample)
            assert isinstance(encoded, bytes), "a sample that was kept has no rejection"
            meta = encoded
        plan, records = self._plan, dict[str, list[bytes]]()
        contents: dict[str, bytes] = {}
        for name, modality in plan.modalities.items():
            groups = plan.group_items(name, sample.parts.get(name, ()))
            read = [self._read(items, modality) for items in groups]
            contents |= zip(plan.names[name], self._stack(name, [pieces for pieces, _ in read]), strict=True)
            records[name] = [record for _, record in read]
        for name in plan.most:
            contents[f"{name}_count"] = _encode_scalar(COUNT, len(sample.parts.get(name, ())))
        for name in plan.optional:
            contents[f"{name}_present"] = _encode_scalar(plan.fields[f"{name}_present"], int(name in sample.parts))
        if plan.classes is not None:
            contents["label"] = _encode_scalar(plan.fields["label"], plan.classes.index(sample.label or ""))
        members = [contents[name] for name in plan.fields]
        return encode_members(plan.fields, sample.key, members, meta), records

    def _stack(self, name: str, items: Sequence[Sequence[bytes]]) -> Sequence[bytes]:
        """Return the contents of a part's members from those of its features."""
        if name in self._plan.most:
            own = self._extractors[self._plan.modalities[name]].fields
            return stack_items(items, self._padding[name], own, self._plan.select_fields(name))
        assert len(items) <= 1, f"{name} has room for one item"
        return items[0] if items else self._padding[name]

    def _read(self, items: Sequence[SamplePart], modality: str) -> tuple[Sequence[bytes], bytes]:
        """Return the contents of the members of the feature of a group of items, and its record."""
        learned = self._learned.find(items)
        if learned is not None:
            return learned, b""
        (item,) = items
        entry = self._reader.read(self._extractors[modality], item)
        assert isinstance(entry, Entry), "rejections were found before"
        return entry.pieces, entry.record

    def _read_records(self, sample: AlignedSample) -> Records | None:
        """Return the records of a cached sample's features by part; None if the cache lacks one."""
        records: dict[str, list[bytes]] = {}
        for name, parts in sample.parts.items():
            if MODALITIES[self._plan.modalities[name]].learning is None:
                for part in parts:
                    record = self._reader.read_record(part)
                    if record is None:
                        return None
                    records.setdefault(name, []).append(record)
        return records

    def _note_features(self, row: int, sample: AlignedSample, records: Records) -> None:
        """Note the features that can be taken from the shard: not learned ones, which belong to one vocabulary, nor
        those of several items in one array."""
        for name, parts in sample.parts.items():
            if MODALITIES[self._plan.modalities[name]].learning is None and name not in self._plan.most:
                self._features += [
                    PlacedFeature(row, name, part.key, record)
                    for part, record in zip(parts, records[name], strict=True)
                ]

    def _list_moments(self, records: Records) -> Iterator[tuple[str, FieldMoments]]:
        """Yield the moments of each item, with the names of the fields in the shard."""
        for part, each in records.items():
            own: Fields = self._extractors[self._plan.modalities[part]].fields
            shown = dict(zip(own, self._plan.names[part], strict=True))
            for record in filter(None, each):
                yield from ((shown[name], moments) for name, moments in decode_moments(record, own).items())


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
