"""Makes one shard: a task of its own, a pure function of the features of its samples and of the recipe.

A shard that the cache has whole gets a second name, once its sha256 was checked; else it is put together of features
that the cache has, each held to its checksum, and stays in the cache.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from pipeline.cache.feature_entries import check_arrays, decode_parsed, encode_arrays
from pipeline.cache.lookup import EntryLocations, split_keys
from pipeline.cache.pack_index import DamagedError, Entry
from pipeline.errors import PipelineError
from pipeline.extract.aligned_samples import AlignedSample
from pipeline.extract.field_statistics import has_moments, measure, start_moments
from pipeline.extract.inline_features import InlineFeatures, InlineKeys
from pipeline.extract.learn_vocabulary import find_learning
from pipeline.extract.plan_fields import FieldPlan
from pipeline.extract.plan_shards import estimate_sample_bytes
from pipeline.extract.provenance import Terms, count_terms
from pipeline.extract.read_features import ITEM_BYTES, ExtractFolders, FeatureReader
from pipeline.extract.reuse_samples import SHARD, Measures, ReusableSamples, ReusedSamples, ShardFile, ShardRows
from pipeline.extract.reuse_shards import CachedShard, describe_shard, fingerprint_samples, name_shard, reuse_shard
from pipeline.extract.sample_meta import decode_array, describe_sample, encode_nothing
from pipeline.extract.shard_recipe import Recipe, read_learned
from pipeline.modalities.table import MODALITIES
from pipeline.runtime.sandbox.heartbeat import UNTOUCHED
from pipeline.runtime.stopwatch import OTHER, clock
from pipeline.tables.drops import Drop, Rejection
from shardwright.errors import DamageError
from shardwright.format.canonical_json import encode_canonical
from shardwright.format.encode import (
    CHUNK_BYTES,
    EncodedSample,
    PlacedSample,
    ShardBuilder,
    WrittenShard,
    encode_members,
    write_encoded,
)
from shardwright.format.field import Field

Array = NDArray[Any]

ROW_BYTES = 16 << 10
"""Of memory, for what is known of one sample while its shard is made."""

Contents = Mapping[str, bytes]
"""The contents of a sample's members by field."""

Encoded = EncodedSample | PlacedSample
"""A sample as bytes: put together, or as a kept shard has it."""


@dataclass(frozen=True, eq=False)
class ShardTask:
    """One shard to make.

    Attributes:
        path: its file.
        rows: of its samples, in order.
        features: where their features are, by modality.
        lost: what is to be said of features that no worker can compute, by modality and place.
        own: the features that this task computes.
        moments: asks for sums for the statistics.
        alone: asks for no shard: only for an end of the one feature that is not lost, see `Divisible`.
    """

    path: Path
    folders: ExtractFolders
    rows: Sequence[int]
    features: Mapping[str, EntryLocations]
    lost: Mapping[str, Mapping[int, Rejection]]
    own: InlineKeys
    recipe: Recipe
    moments: bool
    alone: bool = False

    @property
    def name(self) -> str:
        """The name of the shard's file."""
        return self.path.name

    @property
    def lacks(self) -> bool:
        """Whether there are features that no worker can compute."""
        return any(self.lost.values())

    @property
    def estimated_bytes(self) -> int:
        """Of memory: some samples and what is written at a time, the rows of all; an item, where any is computed."""
        written = 4 * (estimate_sample_bytes(self.recipe.plan.fields) + CHUNK_BYTES)
        return written + len(self.rows) * ROW_BYTES + (ITEM_BYTES if self.own else 0)

    def open_finished(self) -> ReusedSamples:
        """The samples of the shards in the cache that have features of these."""
        names = {name for placed in self.features.values() for name in placed.names if name.endswith(SHARD)}
        shards = [] if self.lacks else sorted(names)
        return ReusedSamples(self.folders.objects, shards, self.recipe.plan, self.recipe.assembly)

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return len(self.own)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        merged = {modality: dict(places) for modality, places in self.lost.items()}
        for number, rejection in lost.items():
            modality, at = self.own[number]
            merged[modality][at] = rejection
        return replace(self, lost=merged, alone=UNTOUCHED in lost.values())


@dataclass(frozen=True)
class ShardResult:
    """What became of a task.

    Attributes:
        shard: the shard with its drops and sums; its record is None if no sample was left for it.
        terms: how many of its samples use something of each source, licence and attribution.
        kept: the shard's name in the cache, None if it is not there.
        reused: whether it was there whole.
        computed: how many features had to be computed, since the cache turned out to be damaged.
        damaged: the objects that are.
    """

    shard: CachedShard
    terms: Counter[Terms]
    kept: str | None
    reused: bool = False
    computed: int = 0
    damaged: frozenset[str] = frozenset()


def make_shard(task: ShardTask) -> ShardResult:
    """Make the shard, whole or not at all.

    Raises:
        InputError: an item's bytes are not those that were cleaned.
        PipelineError: the shard is not as it was written: a fault of the disk or of ours.
    """
    samples = task.folders.tables.read_samples(task.rows)
    prints, name = fingerprint_samples(task.recipe.assembly, samples, task.features, task.moments), None
    if not task.lacks:  # what this machine cannot do says nothing of others
        name = name_shard(prints)
        reused = reuse_shard(task.folders.objects, name, task.path, task.recipe.plan)
        if reused is not None:
            return ShardResult(reused, _count_kept(samples, reused), name, reused=True)
    with FeatureReader(task.folders, task.recipe.extractors) as reader, task.open_finished() as finished:
        own = InlineFeatures(task.own, samples, task.features, reader)
        if task.alone:
            own.compute_alone(task.lost)
            return ShardResult(CachedShard(None, (), {}), Counter(), None)
        if task.own and task.lacks:
            own.go_on()
        assembly = Assembly(task, samples, prints, Sources(reader, own, finished))
        shard = assembly.write()
        kept = name if shard.written is not None else None
        if kept is not None:
            rows = describe_shard(task.recipe.plan, task.recipe.assembly, shard, assembly.list_written())
            task.folders.objects.adopt(kept, task.path, rows)
            reader.stored.update(split_keys(rows.entries["fingerprint"]))
        reader.keep_computed()
        terms = _count_kept(samples, shard)
        return ShardResult(
            shard, terms, kept, computed=reader.computed, damaged=frozenset(reader.damaged | finished.damaged)
        )


def _count_kept(samples: Sequence[AlignedSample], shard: CachedShard) -> Counter[Terms]:
    gone = {drop.key for drop in shard.drops}
    return count_terms(sample for sample in samples if sample.key not in gone)


@dataclass(frozen=True)
class Sources:
    """Where samples come from: features, those of the shard's own, and samples that are finished."""

    reader: FeatureReader
    own: InlineFeatures
    finished: ReusedSamples


class Assembly:
    """A shard that is being put together, of samples with these fingerprints."""

    def __init__(
        self, task: ShardTask, samples: Sequence[AlignedSample], prints: Sequence[bytes], sources: Sources
    ) -> None:
        plan = task.recipe.plan
        self._task = task
        self._plan = plan
        self._samples = samples
        self._prints = prints
        self._sources = sources
        self._moments = {
            name: start_moments(field) for name, field in plan.fields.items() if task.moments and has_moments(field)
        }
        self._metas: dict[int, int] = {}
        self._frames: Sequence[int] = ()
        self._places: list[int] = []
        self._measures: list[Measures] = []

    def list_written(self) -> ShardRows:
        """What is known of the samples that are in the shard."""
        features = [
            {modality: self._task.features[modality].encode_key(at) for modality in self._samples[at].parts}
            for at in self._places
        ]
        metas = [self._metas[at] for at in self._places]
        return ShardRows([self._prints[at] for at in self._places], features, self._measures, metas, self._frames)

    def write(self) -> CachedShard:
        """Write the shard, if a sample is left for it, and read it back: each sample as soon as it is put together.
        What is finished is taken as it is.

        Raises:
            PipelineError: it is not as it was written.
        """
        fields, drops, metas = self._plan.fields, list[Drop](), dict[int, bytes]()
        for at, fingerprint in enumerate(self._prints):
            known = self._sources.finished.measure_meta(fingerprint)
            if known is None:
                metas[at] = self._encode_meta(at)
            self._metas[at] = len(metas[at]) if known is None else known
        builder = ShardBuilder(fields, max(self._metas.values()))
        made = self._make_all(metas, builder.meta_bytes, drops)
        first = next(made, None)
        if first is None:
            return CachedShard(None, tuple(drops), self._moments)
        written = self._write(builder, chain((first,), made))
        needed = max(self._metas[at] for at in self._places)
        if needed < builder.meta_bytes:  # the sample with the longest meta was dropped
            shorter = ShardBuilder(fields, needed)
            written, builder = self._write(shorter, self._read_written(written, builder.frames)), shorter
        self._frames = builder.frames
        return CachedShard(written, tuple(drops), self._moments)

    def _read_written(self, written: WrittenShard, frames: Sequence[int]) -> Iterator[EncodedSample]:
        """The samples of the shard as it is now."""
        record = written.record
        with self._task.path.open("rb") as file:
            shard = ShardFile(file.fileno(), self._plan.fields, record.meta_bytes, written.index, frames)
            for row in range(len(written.index)):
                try:
                    yield shard.read_apart(row)
                except DamagedError:
                    raise PipelineError(f"{record.name} is not as it was written a moment before") from None

    def _write(self, builder: ShardBuilder, samples: Iterable[Encoded]) -> WrittenShard:
        """Write the file elsewhere: what a process that dies leaves of it must not be among the shards."""
        path = self._task.path
        elsewhere = self._task.folders.work / f"{path.parent.name}.making" / path.name
        for folder in (elsewhere.parent, path.parent):
            folder.mkdir(exist_ok=True)
        with clock("write shard"):
            try:
                written = write_encoded(elsewhere, builder, samples, read_back=True)
            except DamageError as error:
                raise PipelineError(str(error)) from None
            elsewhere.replace(path)
        return written

    def _make_all(self, metas: Mapping[int, bytes], meta_bytes: int, drops: list[Drop]) -> Iterator[Encoded]:
        """The samples that can be put together, one after another, for a shard that pads its metas to `meta_bytes`;
        `drops` gets the others. `metas` are those of samples that are not finished."""
        finished = self._sources.finished
        for at, sample in enumerate(self._samples):
            with clock(OTHER), _name_sample(sample.key):
                made: ReusableSamples | Rejection | None = finished.read(self._prints[at], meta_bytes)
                if made is None:  # or what was finished is damaged
                    made = self._make(at, sample, metas[at] if at in metas else self._encode_meta(at))
                if isinstance(made, Rejection):
                    drops.append(made.drop(sample.key))
                    continue
                for name, measured in made.measures.items():
                    self._moments[name] = self._moments[name].add(measured)
                self._places.append(at)
                self._measures.append(made.measures)
            yield made.encoded
            self._sources.own.release(at)

    def _make(self, at: int, sample: AlignedSample, meta: bytes) -> ReusableSamples | Rejection:
        """A sample put together of its features."""
        self._sources.own.compute(at, self._task.lost)
        contents = self._gather(at, sample)
        if isinstance(contents, Rejection):
            return contents
        members = [contents[name] for name in self._plan.fields]
        with clock("statistics"):
            measures = self._measure(sample, contents)
        return ReusableSamples(encode_members(self._plan.fields, sample.key, members, meta), measures)

    def _encode_meta(self, at: int) -> bytes:
        sample = self._samples[at]
        with _name_sample(sample.key):
            return encode_canonical(describe_sample(sample, self._read_caption(sample)))

    def _gather(self, at: int, sample: AlignedSample) -> Contents | Rejection:
        """The contents of all members of a sample but its meta, or why there are none."""
        plan = self._plan
        contents: dict[str, bytes] = {}
        for modality in plan.modalities:
            found = self._read(at, sample, modality)
            if isinstance(found, Rejection):
                return replace(found, detail=f"{modality}: {found.detail}")
            contents.update(found)
        for modality in plan.optional:
            name = f"{modality}_present"
            contents[name] = plan.fields[name].encode(np.array(modality in sample.parts, np.uint8))
        if plan.classes is not None:
            number = plan.classes.index(sample.label or "")
            contents["label"] = plan.fields["label"].encode(np.array(number, np.int64))
        return contents

    def _read(self, at: int, sample: AlignedSample, modality: str) -> Contents | Rejection:
        """The contents of the members of one modality: padding, or zeros, where the sample has no such item."""
        fields = self._plan.own_fields(modality)
        if modality not in sample.parts:
            return dict(zip(fields, encode_nothing(fields), strict=True))
        lost = self._task.lost[modality].get(at)
        entry = lost or self._sources.reader.read(modality, self._task.features[modality], at, sample.parts[modality])
        if isinstance(entry, Rejection):
            return entry
        if MODALITIES[modality].learning is None:
            return dict(zip(fields, entry.pieces, strict=True))
        return self._encode_parsed(modality, entry, fields)

    def _encode_parsed(self, modality: str, entry: Entry, fields: Mapping[str, Field]) -> Contents | Rejection:
        learned = self._task.recipe.learned
        assert learned is not None
        parsed = decode_parsed(entry.pieces)
        arrays = find_learning(modality).encode(parsed, self._plan.params[modality], read_learned(learned))
        checked = check_arrays(arrays, fields)
        return (
            checked
            if isinstance(checked, Rejection)
            else dict(zip(fields, encode_arrays(checked, fields), strict=True))
        )

    def _read_caption(self, sample: AlignedSample) -> str | None:
        """The sample's text, for people; None where it has none."""
        texts = (part for part in sample.parts.values() if part.media_type.startswith("text/"))
        return next((self._sources.reader.read_item(part).data.decode(errors="replace") for part in texts), None)

    def _measure(self, sample: AlignedSample, contents: Contents) -> Measures:
        fields, measures = self._plan.fields, {}
        for name in sorted(find_present(sample, self._plan) & self._moments.keys()):
            array = decode_array(contents[name], fields[name])
            length = f"{name}_length"
            if length in contents:
                array = array[: int(decode_array(contents[length], fields[length]))]
            measures[name] = measure(array)
        return measures


@contextmanager
def _name_sample(key: str) -> Iterator[None]:
    """What is raised inside passes through and says at which sample."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"at sample {key}")
        raise


def find_present(sample: AlignedSample, plan: FieldPlan) -> set[str]:
    """The fields of the modalities that the sample has."""
    return {field for modality in sample.parts for field in plan.modalities[modality]}
