"""Plan the whole stage from the tables, before any item is read: in SQL, so that no sample takes memory."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.errors import InputError
from pipeline.extract.class_order import sort_classes
from pipeline.extract.extractor import ExtractFolders, Extractor, make_extractors
from pipeline.extract.feature_entry import compute_entry
from pipeline.extract.frozen_encoder import plan_encoder
from pipeline.extract.item_keys import ItemKeys
from pipeline.extract.item_rows import write_item_rows
from pipeline.extract.learn_vocabulary import find_learner, find_learning
from pipeline.extract.params import ExtractParams
from pipeline.extract.plan_fields import FieldPlan, PartKind, plan_fields
from pipeline.extract.plan_shards import PlannedShard, plan_shards
from pipeline.incremental.cache_key import hash_method
from pipeline.incremental.key_words import NAMES
from pipeline.modalities.table import MODALITIES
from pipeline.tables.contracts import (
    ALIGNED_PART_KINDS,
    ALIGNED_PARTS,
    ALIGNED_SAMPLES,
    CLEANED_ITEMS,
    INGESTED_ITEMS,
    PART_KINDS,
    PARTS,
    SAMPLES,
)
from pipeline.tables.database import Database, read_numbered
from pipeline.tables.drops import Drop, Reason
from pipeline.tables.table_files import check_reference, count_rows


@dataclass(frozen=True)
class Corpus:
    """The plan of a dataset; its samples are in tables of the database.

    Attributes:
        count: the number of aligned samples.
        unlabelled: drops of the samples that are in no shard, since their label has no number.
        plan: of the fields.
        shards: by split and number.
        frozen: the frozen vocabulary; None where it has to be learned.
        clips: how many items of a modality that is cut at a length there are, and how many of them are longer.
        keys: of all items, and their terms.
    """

    count: int
    unlabelled: Sequence[Drop]
    plan: FieldPlan
    shards: Sequence[PlannedShard]
    frozen: Any | None
    clips: Mapping[str, tuple[int, int]]
    keys: ItemKeys

    @property
    def extractors(self) -> dict[str, Extractor]:
        """The extractor of each modality in use."""
        return make_extractors(self.plan)

    @property
    def learner(self) -> str | None:
        """The modality in use that learns from the training split, if any."""
        return find_learner(self.plan)


def plan_corpus(database: Database, folders: ExtractFolders, params: ExtractParams) -> Corpus:
    """Load the tables and plan the dataset; write the rows of all items, see `pipeline.extract.item_rows`.

    Leaves the tables `usable` (the samples that a shard has: sample, key, split, label, group) and `requests` (their
    parts: sample, part, position, item, start, end, modality, and the words of the cache key of the feature).

    Raises:
        InputError: nothing was aligned, a table is missing, damaged or out of date, or the frozen vocabulary is missing
            or has another sha256.
        ParamsError: the parts cannot have the fields that the params say, see `plan_fields`.
    """
    count = load_samples(database, folders.data)
    classes = find_classes(database, params.classes)
    unlabelled = drop_labels(database, classes)
    plan = plan_fields(list_kinds(database), find_lacking(database), params, classes)
    learner = find_learner(plan)
    frozen = find_learning(learner).read_frozen(plan.params[learner]) if learner else None
    shards = plan_shards(database, plan.fields, params)
    keys = request_features(database, folders, plan)
    return Corpus(count, unlabelled, plan, shards, frozen, count_clips(database, plan), keys)


def load_samples(database: Database, data: Path) -> int:
    """Create `samples`, `kinds` of parts, and `parts`; return the number of samples.

    Raises:
        InputError: there are no samples, or a table is missing, damaged or out of date.
    """
    for folder in (CLEANED_ITEMS, ALIGNED_PARTS):
        check_reference(data / folder, INGESTED_ITEMS, data / INGESTED_ITEMS)
    database.load("samples", data / ALIGNED_SAMPLES, SAMPLES, number="sample")
    count = int(database.fetch("SELECT count(*) FROM samples")[0][0])
    if not count:
        raise InputError(f"{data / ALIGNED_SAMPLES} has no samples; `dropped` beside it lists why items were dropped")
    check_reference(data / ALIGNED_PARTS, ALIGNED_PART_KINDS, data / ALIGNED_PART_KINDS)
    database.load("kinds", data / ALIGNED_PART_KINDS, PART_KINDS, number="place")
    database.execute(
        """
        CREATE TYPE part_name AS ENUM (SELECT part FROM kinds ORDER BY part);
        CREATE TYPE modality_name AS ENUM (SELECT DISTINCT modality FROM kinds ORDER BY modality)
        """
    )
    database.insert("parts", read_numbered(data / ALIGNED_PARTS, PARTS), columns="* REPLACE (part::part_name AS part)")
    return count


def find_classes(database: Database, listed: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the classes in label order: `listed`, else all labels, see `sort_classes`; None without labels."""
    labels = database.fetch("SELECT DISTINCT label FROM samples WHERE label IS NOT NULL")
    return listed or sort_classes(label for (label,) in labels) or None


def drop_labels(database: Database, classes: tuple[str, ...] | None) -> list[Drop]:
    """Turn `samples` into `usable`, those whose label is in `classes`; return drops for the others, and remove their
    parts."""
    others: list[tuple[Any, ...]] = []
    if classes is not None:
        condition = "WHERE label IS NULL OR label NOT IN (SELECT unnest($classes))"
        parameters = {"classes": list(classes)}
        others = database.fetch(f"SELECT key, label FROM samples {condition} ORDER BY sample", parameters)
        if others:
            database.execute(f"DELETE FROM parts WHERE sample IN (SELECT sample FROM samples {condition})", parameters)
            database.execute(f"DELETE FROM samples {condition}", parameters)
    database.execute("ALTER TABLE samples RENAME TO usable")
    return [_drop_label(key, label) for key, label in others]


def _drop_label(key: str, label: str | None) -> Drop:
    if label is None:
        return Drop(key, Reason.MISSING_LABEL, "the sample has no label, others have one")
    return Drop(key, Reason.UNKNOWN_LABEL, "the label is not in the list", label, setting="extract.classes")


def list_kinds(database: Database) -> dict[str, PartKind]:
    """Return the parts that some usable sample has, in the order of the params."""
    rows = database.fetch(
        """
        SELECT part, modality, most, joiner FROM kinds
        WHERE part IN (SELECT DISTINCT part::VARCHAR FROM parts) ORDER BY place
        """
    )
    return {part: PartKind(*kind) for part, *kind in rows}


def find_lacking(database: Database) -> list[str]:
    """Return the parts that some usable samples lack."""
    rows = database.fetch(
        """
        SELECT part FROM parts WHERE position = 0 GROUP BY part HAVING count(*) < (SELECT count(*) FROM usable)
        """
    )
    return [part for (part,) in rows]


def request_features(database: Database, folders: ExtractFolders, plan: FieldPlan) -> ItemKeys:
    """Create `requests`: the parts of the usable samples with the words of the cache key of their feature. Write the
    rows of all items, see `pipeline.extract.item_rows`, and return their keys.

    Raises:
        InputError: a table is missing or damaged, or a part's item is not among the cleaned ones.
    """
    methods = {modality: hash_features(modality, plan) for modality in plan.params}
    by_language = [name for name, params in plan.params.items() if MODALITIES[name].reads_language(params)]
    keys = ItemKeys(folders.work, count_rows(folders.data / INGESTED_ITEMS), methods, by_language)
    write_item_rows(folders.data, folders.items, keys.add)
    keys.add_functions(database)
    database.execute(
        """
        CREATE TABLE requests AS
        SELECT sample, part, position, item, "start", "end", modality::modality_name AS modality,
            unnest(find_key(item, "start", "end"))
        FROM parts JOIN (SELECT part::part_name AS part, modality FROM kinds) USING (part);
        DROP TABLE parts
        """
    )
    absent = " AND ".join(f"{name} = 0" for name in NAMES)
    lost = database.fetch(f"SELECT min(item) FROM requests WHERE {absent}")[0][0]
    if lost is not None:
        raise InputError(f"a sample names item {lost}, which is not in {folders.data / CLEANED_ITEMS}: run `dvc repro`")
    return keys


def count_clips(database: Database, plan: FieldPlan) -> dict[str, tuple[int, int]]:
    """Return `Corpus.clips`."""
    counts = {}
    for modality, params in plan.params.items():
        if key := MODALITIES[modality].clip:
            counts[modality] = database.fetch(
                """
                SELECT count(*),
                    coalesce(count_if(least("end", find_seconds(item)) - coalesce("start", 0) > $seconds), 0)
                FROM requests WHERE modality = $modality
                """,
                {"modality": modality, "seconds": float(getattr(params, key))},
            )[0]
    return counts


def hash_features(modality: str, plan: FieldPlan) -> bytes:
    """Return a hash of how the features of a modality are computed: code, params, libraries."""
    known, params = MODALITIES[modality], plan.params[modality]
    learning = known.learning
    fields = {} if learning else plan.own[modality]  # a parsed item is no array yet
    encoder = plan.encoders.get(modality)
    settings = {
        "params": params.model_dump(mode="json", exclude=set(learning.late) if learning else None),
        "fields": [[name, field.dtype, list(field.shape)] for name, field in fields.items()],
        "versions": dict(known.describe(params)),
    }
    functions: list[Callable[..., Any]] = [learning.parse if learning else known.extract, compute_entry]
    if encoder is not None:
        settings["vector"] = encoder.describe()
        functions.append(plan_encoder)
        if learning:  # whose tokens the encoder reads
            settings["params"] = params.model_dump(mode="json")
            functions.append(learning.encode)
    return hash_method(f"features of {modality}", functions, settings, known.libraries)
