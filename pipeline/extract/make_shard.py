"""Build one shard: a task that is a pure function of the features of its samples and of the recipe.

A shard that is whole in the cache gets a second name once its sha256 was checked; otherwise it is built from cached
features, each checked against its checksum, and added to the cache.
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

from pipeline.incremental.feature_entries import check_arrays, decode_parsed, encode_arrays
from pipeline.incremental.lookup import EntryLocations, split_keys
from pipeline.incremental.pack_index import DamagedError, Entry
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
from pipeline.extract.reuse_shards import CachedShard, describe_shard, hash_samples, name_shard, reuse_shard
from pipeline.extract.sample_meta import build_meta, decode_array, encode_absent
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
"""Memory for the records of one sample while its shard is built."""

Contents = Mapping[str, bytes]
"""The contents of a sample's members, by field."""

Encoded = EncodedSample | PlacedSample
"""A sample as bytes: newly encoded, or copied from a cached shard."""


@dataclass(frozen=True, eq=False)
class ShardTask:
    """One shard to build.

    Attributes:
        path: the file to write.
        rows: row numbers of its samples, in order.
        features: where their features are, by modality.
        lost: rejections of features that no worker can compute, by modality and position in `rows`.
        inline: the features that this task computes.
        moments: whether to sum values for the statistics.
        isolated: compute only the one feature that is not lost and write no shard, see `Divisible`.
    """

    path: Path
    folders: ExtractFolders
    rows: Sequence[int]
    features: Mapping[str, EntryLocations]
    lost: Mapping[str, Mapping[int, Rejection]]
    inline: InlineKeys
    recipe: Recipe
    moments: bool
    isolated: bool = False

    @property
    def name(self) -> str:
        """The file name of the shard."""
        return self.path.name

    @property
    def lacks(self) -> bool:
        """Whether any feature is lost."""
        return any(self.lost.values())

    @property
    def estimated_bytes(self) -> int:
        """Memory for a few samples and write chunks, the records of all samples, and an item where any is computed."""
        written = 4 * (estimate_sample_bytes(self.recipe.plan.fields) + CHUNK_BYTES)
        return written + len(self.rows) * ROW_BYTES + (ITEM_BYTES if self.inline else 0)

    def open_reused(self) -> ReusedSamples:
        """Open the samples of cached shards that hold any of these features."""
        names = {name for locations in self.features.values() for name in locations.names if name.endswith(SHARD)}
        shards = [] if self.lacks else sorted(names)
        return ReusedSamples(self.folders.objects, shards, self.recipe.plan, self.recipe.assembly)

    def count_items(self) -> int:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        return len(self.inline)

    def lose_items(self, lost: Mapping[int, Rejection]) -> Self:
        """See `pipeline.runtime.sandbox.heartbeat.Divisible`."""
        merged = {modality: dict(rejections) for modality, rejections in self.lost.items()}
        for number, rejection in lost.items():
            modality, at = self.inline[number]
            merged[modality][at] = rejection
        return replace(self, lost=merged, isolated=UNTOUCHED in lost.values())


@dataclass(frozen=True)
class ShardResult:
    """The result of a task.

    Attributes:
        shard: the shard with its drops and moments; its record is None if it has no sample.
        terms: how many of its samples use an item under each source, licence and attribution.
        cached: the shard's name in the cache, None if it is not stored there.
        reused: whether the whole shard came from the cache.
        computed: how many features were computed again since their entries were damaged.
        damaged: names of the damaged objects.
    """

    shard: CachedShard
    terms: Counter[Terms]
    cached: str | None
    reused: bool = False
    computed: int = 0
    damaged: frozenset[str] = frozenset()


def make_shard(task: ShardTask) -> ShardResult:
    """Build the shard, whole or not at all.

    Raises:
        InputError: an item's bytes differ from those that were cleaned.
        PipelineError: the shard reads back differently than it was written: a bad disk, or a bug.
    """
    samples = task.folders.tables.read_samples(task.rows)
    keys, name = hash_samples(task.recipe.assembly, samples, task.features, task.moments), None
    if not task.lacks:  # a shard without what this machine could not compute must not be stored
        name = name_shard(keys)
        whole = reuse_shard(task.folders.objects, name, task.path, task.recipe.plan)
        if whole is not None:
            return ShardResult(whole, _count_terms(samples, whole), name, reused=True)
    with FeatureReader(task.folders, task.recipe.extractors) as reader, task.open_reused() as reused:
        inline = InlineFeatures(task.inline, samples, task.features, reader)
        if task.isolated:
            inline.compute_isolated(task.lost)
            return ShardResult(CachedShard(None, (), {}), Counter(), None)
        if task.inline and task.lacks:
            inline.resume()
        assembly = ShardAssembly(task, samples, keys, SampleSources(reader, inline, reused))
        shard = assembly.write()
        cached = name if shard.written is not None else None
        if cached is not None:
            rows = describe_shard(task.recipe.plan, task.recipe.assembly, shard, assembly.list_written())
            task.folders.objects.adopt(cached, task.path, rows)
            reader.stored.update(split_keys(rows.entries["key"]))
        reader.store_computed()
        terms = _count_terms(samples, shard)
        return ShardResult(
            shard, terms, cached, computed=reader.computed, damaged=frozenset(reader.damaged | reused.damaged)
        )


def _count_terms(samples: Sequence[AlignedSample], shard: CachedShard) -> Counter[Terms]:
    dropped = {drop.key for drop in shard.drops}
    return count_terms(sample for sample in samples if sample.key not in dropped)


@dataclass(frozen=True)
class SampleSources:
    """Where samples come from: cached features, inline features, and whole cached samples."""

    reader: FeatureReader
    inline: InlineFeatures
    reused: ReusedSamples


class ShardAssembly:
    """Builds the shard of a task from samples with these cache keys."""

    def __init__(
        self, task: ShardTask, samples: Sequence[AlignedSample], keys: Sequence[bytes], sources: SampleSources
    ) -> None:
        plan = task.recipe.plan
        self._task = task
        self._plan = plan
        self._samples = samples
        self._keys = keys
        self._sources = sources
        self._moments = {
            name: start_moments(field) for name, field in plan.fields.items() if task.moments and has_moments(field)
        }
        self._metas: dict[int, int] = {}
        self._frames: Sequence[int] = ()
        self._written: list[int] = []
        self._measures: list[Measures] = []

    def list_written(self) -> ShardRows:
        """Return the records of the samples that were written."""
        features = [
            {modality: self._task.features[modality].encode_key(at) for modality in self._samples[at].parts}
            for at in self._written
        ]
        metas = [self._metas[at] for at in self._written]
        return ShardRows([self._keys[at] for at in self._written], features, self._measures, metas, self._frames)

    def write(self) -> CachedShard:
        """Write the shard sample by sample, unless no sample is left, and read it back; copy cached samples whole.

        Raises:
            PipelineError: it reads back differently than it was written.
        """
        fields, drops, metas = self._plan.fields, list[Drop](), dict[int, bytes]()
        for at, cache_key in enumerate(self._keys):
            known = self._sources.reused.measure_meta(cache_key)
            if known is None:
                metas[at] = self._encode_meta(at)
            self._metas[at] = len(metas[at]) if known is None else known
        builder = ShardBuilder(fields, max(self._metas.values()))
        encoded = self._build_samples(metas, builder.meta_bytes, drops)
        first = next(encoded, None)
        if first is None:
            return CachedShard(None, tuple(drops), self._moments)
        written = self._write(builder, chain((first,), encoded))
        needed = max(self._metas[at] for at in self._written)
        if needed < builder.meta_bytes:  # the sample with the longest meta was dropped: pad the others less
            shorter = ShardBuilder(fields, needed)
            written, builder = self._write(shorter, self._read_written(written, builder.frames)), shorter
        self._frames = builder.frames
        return CachedShard(written, tuple(drops), self._moments)

    def _read_written(self, written: WrittenShard, frames: Sequence[int]) -> Iterator[EncodedSample]:
        """Yield the samples of the shard that was just written."""
        record = written.record
        with self._task.path.open("rb") as file:
            shard = ShardFile(file.fileno(), self._plan.fields, record.meta_bytes, written.index, frames)
            for row in range(len(written.index)):
                try:
                    yield shard.read_apart(row)
                except DamagedError:
                    raise PipelineError(
                        f"{record.name} changed on disk since it was written: check the disk, then run it again"
                    ) from None

    def _write(self, builder: ShardBuilder, samples: Iterable[Encoded]) -> WrittenShard:
        """Write in the work folder and rename: a killed process must leave no partial file among the shards."""
        path = self._task.path
        draft = self._task.folders.work / f"{path.parent.name}.draft" / path.name
        for folder in (draft.parent, path.parent):
            folder.mkdir(exist_ok=True)
        with clock("write shard"):
            try:
                written = write_encoded(draft, builder, samples, read_back=True)
            except DamageError as error:
                raise PipelineError(str(error)) from None
            draft.replace(path)
        return written

    def _build_samples(self, metas: Mapping[int, bytes], meta_bytes: int, drops: list[Drop]) -> Iterator[Encoded]:
        """Yield the encoded samples of a shard that pads its metas to `meta_bytes`; append the others to `drops`.

        `metas` has the metas of the samples that are not copied from the cache.
        """
        reused = self._sources.reused
        for at, sample in enumerate(self._samples):
            with clock(OTHER), _name_sample(sample.key):
                built: ReusableSamples | Rejection | None = reused.read(self._keys[at], meta_bytes)
                if built is None:  # not cached, or the cached sample is damaged
                    built = self._build_sample(at, sample, metas[at] if at in metas else self._encode_meta(at))
                if isinstance(built, Rejection):
                    drops.append(built.drop(sample.key))
                    continue
                for name, measured in built.measures.items():
                    self._moments[name] = self._moments[name].add(measured)
                self._written.append(at)
                self._measures.append(built.measures)
            yield built.encoded
            self._sources.inline.release(at)

    def _build_sample(self, at: int, sample: AlignedSample, meta: bytes) -> ReusableSamples | Rejection:
        """Encode a sample from its features."""
        self._sources.inline.compute(at, self._task.lost)
        contents = self._collect_contents(at, sample)
        if isinstance(contents, Rejection):
            return contents
        members = [contents[name] for name in self._plan.fields]
        with clock("statistics"):
            measures = self._measure(sample, contents)
        return ReusableSamples(encode_members(self._plan.fields, sample.key, members, meta), measures)

    def _encode_meta(self, at: int) -> bytes:
        sample = self._samples[at]
        with _name_sample(sample.key):
            return encode_canonical(build_meta(sample, self._read_caption(sample)))

    def _collect_contents(self, at: int, sample: AlignedSample) -> Contents | Rejection:
        """Return the contents of all members of a sample but its meta, or the rejection of a part."""
        plan = self._plan
        contents: dict[str, bytes] = {}
        for modality in plan.modalities:
            found = self._read(at, sample, modality)
            if isinstance(found, Rejection):
                setting = found.name_setting(f"extract.{modality}")
                return replace(found, detail=f"{modality}: {found.detail}", setting=setting)
            contents.update(found)
        for modality in plan.optional:
            name = f"{modality}_present"
            contents[name] = plan.fields[name].encode(np.array(modality in sample.parts, np.uint8))
        if plan.classes is not None:
            number = plan.classes.index(sample.label or "")
            contents["label"] = plan.fields["label"].encode(np.array(number, np.int64))
        return contents

    def _read(self, at: int, sample: AlignedSample, modality: str) -> Contents | Rejection:
        """Return the member contents of one modality; padding or zeros if the sample lacks it."""
        fields = self._plan.modality_fields(modality)
        if modality not in sample.parts:
            return dict(zip(fields, encode_absent(fields), strict=True))
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
        """Return the sample's text for its meta; None without one."""
        texts = (part for part in sample.parts.values() if part.media_type.startswith("text/"))
        return next((self._sources.reader.read_item(part).data.decode(errors="replace") for part in texts), None)

    def _measure(self, sample: AlignedSample, contents: Contents) -> Measures:
        fields, measures = self._plan.fields, {}
        for name in sorted(list_present_fields(sample, self._plan) & self._moments.keys()):
            array = decode_array(contents[name], fields[name])
            length = f"{name}_length"
            if length in contents:
                array = array[: int(decode_array(contents[length], fields[length]))]
            measures[name] = measure(array)
        return measures


@contextmanager
def _name_sample(key: str) -> Iterator[None]:
    """Add the sample's key to exceptions raised inside."""
    try:
        yield
    except BaseException as error:
        error.add_note(f"at sample {key}")
        raise


def list_present_fields(sample: AlignedSample, plan: FieldPlan) -> set[str]:
    """Return the fields of the modalities that the sample has."""
    return {field for modality in sample.parts for field in plan.modalities[modality]}
